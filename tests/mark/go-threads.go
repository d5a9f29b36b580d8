// SPDX-License-Identifier: LGPL-2.1-or-later

// Twenty threads of a Go program, each in a call that blocks. It ends with its standard input.
package main

import (
	"os"
	"runtime"
	"syscall"
)

func block(started chan<- bool) {
	var ends [2]int

	runtime.LockOSThread()
	if err := syscall.Pipe(ends[:]); err != nil {
		panic(err)
	}
	started <- true
	syscall.Read(ends[0], make([]byte, 1))
}

func main() {
	started := make(chan bool)
	for i := 0; i < 20; i++ {
		go block(started)
	}
	for i := 0; i < 20; i++ {
		<-started
	}
	os.Stdout.WriteString("ready\n")
	os.Stdin.Read(make([]byte, 1))
}
