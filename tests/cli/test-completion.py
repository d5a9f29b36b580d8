#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Completion for bash and zsh: loaded in these shells, against what stackctl itself says it takes.

Usage: test-completion.py STACKCTL FAKE-STACKD
"""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time

from cli_harness import HERE, SCRATCH, STACKCTL, calls, case, environment, equal, finish, report, run

FOLDER = os.path.abspath(os.path.join(HERE, "../../completion"))
# What readline does: words end at these characters too.
BASH = r"""
PATH=%(folder)s:$PATH
source %(script)s
line=%(line)s
COMP_LINE=$line COMP_POINT=${#line}
eval "set -- ${line//[:=]/ & }" 2>/dev/null
COMP_WORDS=("$@")
[[ $line != *" " ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
complete -p stackctl >/dev/null || exit 1
_stackctl
printf '%%s\n' "${COMPREPLY[@]}"
"""


def bash(line, **env):
    """The completions of a command line."""
    script = BASH % {"folder": shlex.quote(os.path.dirname(STACKCTL)), "line": shlex.quote(line),
                     "script": shlex.quote(FOLDER + "/stackctl.bash")}
    r = subprocess.run(["bash", "--norc", "--noprofile", "-c", script], capture_output=True, env=environment(**env), cwd=SCRATCH, timeout=60,
                       check=False)
    equal((r.returncode, r.stderr), (0, b""), line)
    return sorted(w for w in r.stdout.decode().splitlines() if w)


def help_text():
    return run("--help").stdout.decode()


def verbs():
    part = help_text().partition("\nVerbs:\n")[2].partition("\n\n")[0]
    return sorted(m[1] for m in re.finditer(r"^  ([a-z-]+)", part, re.MULTILINE))


def options():
    part = help_text().partition("\nOptions:\n")[2].partition("\n\n")[0]
    return sorted(m[1] for m in re.finditer(r"^  .. (--[a-z-]+=?)", part, re.MULTILINE))


def accepted(verb):
    """The options that the verb takes, as it says itself."""
    taken = []
    for option in options():
        r = run(verb, option + ("off" if option == "--json=" else "x" if option.endswith("=") else ""), *({"list": ["layers"], "capture": ["-"], "show": ["x"], "explain": ["x"], "adopt": ["x.service"], "release": ["x.service"]}.get(verb, [])),
                FAKE_FATE="start exit")
        if b"takes no option" not in r.stderr:
            taken.append(option)
    return taken


def bash_has_every_verb():
    assert "status" in verbs() and len(verbs()) > 10, verbs()
    equal(bash("stackctl "), verbs())
    equal(bash("stackctl --direct "), verbs())
    equal(bash("stackctl mon"), ["monitor"])
    equal(bash("stackctl --root /x --json short che"), ["check"])


def bash_has_every_option():
    for verb in verbs():
        if verb != "run":
            equal(bash("stackctl %s -" % verb), accepted(verb), verb)
    equal(bash("stackctl run -"), ["--argv0", "--keep-capability", "--try"])
    equal(bash("stackctl -"), accepted("status"))
    equal(bash("stackctl --no-p"), ["--no-pager"])


def bash_has_every_value():
    equal(bash("stackctl --json="), ["off", "pretty", "short"])
    equal(bash("stackctl --json p"), ["pretty"])
    equal(bash("stackctl graph --format=s"), ["svg"])
    equal(bash("stackctl list "), ["hazards", "layers", "processes"])
    equal(bash("stackctl list layers "), [])
    equal(bash("stackctl check "), [])


def columns(what):
    says = run("list", what, "--output=?").stderr.decode()
    return sorted(says.partition(" has: ")[2].rstrip(".\n").lower().split(", "))


def bash_has_every_column():
    for what in ("layers", "processes", "hazards"):
        assert len(columns(what)) > 5
        equal(bash("stackctl list %s --output=" % what), columns(what))
        equal(bash("stackctl list %s -o " % what), columns(what))
    equal(bash("stackctl list layers -o id,ty"), ["id,type"])
    equal(bash("stackctl list layers --output=+wh"), ["+where"])


def bash_has_what_there_is():
    """Ids, devices, mount points, files, pids and units, and only those that could be typed."""
    everything = bash("stackctl show ")
    for name in ("fs:253:0", "block:8:0", "/mnt/xfs", "/srv/lower/z.img", "sda", "dm-0", "dmz-sda", "812", "tcmu-runner.service", "process:812:4711"):
        if name.startswith("process:"):
            assert name not in everything, "a pid is enough"
        else:
            assert name in everything, (name, everything)
    equal(bash("stackctl status tc"), ["tcmu-runner.service"])
    equal(bash("stackctl plan 812 /mnt/"), ["/mnt/inner", "/mnt/xfs", "/mnt/xfs/inner.img"])
    equal(bash("stackctl status sda "), [], "one is enough")
    equal(bash("stackctl adopt "), ["tcmu-runner.service"])
    assert "sh" in bash("stackctl run s")
    equal([w for w in bash("stackctl apply fs:253:")], ["0"], "readline keeps what stands before the colon")
    assert "-" not in everything
    for word in bash("stackctl show ", doc="hostile"):
        assert "\\x" not in word and "\x1b" not in word, word


def bash_asks_the_machine_that_is_meant():
    bash("stackctl --root=" + SCRATCH + " status s")
    assert "root " + SCRATCH in calls(), calls()
    bash("stackctl --root " + SCRATCH + " show s")
    assert "root " + SCRATCH in calls(), calls()


def bash_is_quiet_without_a_daemon():
    equal(bash("stackctl show ", STACKD_BINARY="/does/not/exist"), [])


def bash_completes_paths():
    os.mkdir(SCRATCH + "/folder")
    equal(bash("stackctl --root=" + SCRATCH + "/fol"), [SCRATCH + "/folder"])
    equal(bash("stackctl capture ./fol"), ["./folder"])
    equal(bash("stackctl graph -o ./fol"), ["./folder"])
    equal(bash("stackctl status ./fol"), ["./folder"])


def bash_passes_shellcheck():
    r = subprocess.run(["shellcheck", FOLDER + "/stackctl.bash"], capture_output=True, check=False)
    equal(r.returncode, 0, r.stdout.decode())


class Zsh:
    """An interactive zsh on a terminal of its own, with nothing but this completion."""

    def __init__(self, **env):
        folder = SCRATCH + "/zsh"
        os.makedirs(folder, exist_ok=True)
        shutil.copy(FOLDER + "/stackctl.zsh", folder + "/_stackctl")
        variables = environment(TERM="dumb", HOME=SCRATCH, PATH=os.path.dirname(STACKCTL) + ":" + os.environ["PATH"], **env)
        pid, self.fd = pty.fork()
        if pid == 0:
            os.execvpe("zsh", ["zsh", "-f", "-i"], variables)
        self.pid = pid
        self.send("PS1='%# '; unsetopt zle_bracketed_paste; stty cols 200; fpath=(" + folder + " $fpath); autoload -U compinit; "
                  "compinit -u -D; LISTMAX=0; zstyle ':completion:*' list-prompt ''; print READY''NOW\n")
        self.until("READYNOW")

    def send(self, text):
        os.write(self.fd, text.encode())

    def until(self, wanted, seconds=20):
        """Reads on until that text has come."""
        got, end = "", time.monotonic() + seconds
        while wanted not in got:
            assert select.select([self.fd], [], [], max(0, end - time.monotonic()))[0], "no %r in %r" % (wanted, got)
            got += os.read(self.fd, 65536).decode(errors="replace")
        return got

    def line(self, text):
        """The command line that Tab makes of it: shown by printing it in quotes instead of running it."""
        self.send(text + "\t")
        self.send("\x01print -r -- GOT: \x05 \\$\n")     # to its begin; print it; and its end
        got = self.until(" $\r\n")
        return re.findall(r"^GOT: (.*) \$\r?$", got.replace("\r\n", "\n"), re.MULTILINE)[-1].rstrip()

    def end(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def zsh_completes():
    z = Zsh()
    try:
        for text, wanted in (("stackctl mon", "stackctl monitor"), ("stackctl list pro", "stackctl list processes"),
                             ("stackctl --no-p", "stackctl --no-pager"), ("stackctl --json=pr", "stackctl --json=pretty"),
                             ("stackctl status tcm", "stackctl status tcmu-runner.service"), ("stackctl show /srv/lower/z", "stackctl show /srv/lower/z.img"),
                             ("stackctl plan 81", "stackctl plan 812"), ("stackctl graph --format=sv", "stackctl graph --format=svg"),
                             ("stackctl list layers -o whe", "stackctl list layers -o where")):
            equal(z.line(text), wanted)
    finally:
        z.end()


def zsh_knows_all():
    """Every verb, option and column stands in the script."""
    with open(FOLDER + "/stackctl.zsh", encoding="utf-8") as f:
        text = f.read()
    listed = sorted(m[1] for m in re.finditer(r"^        '([a-z-]+):", text, re.MULTILINE) if not m[1] in ("names", "processes", "layers", "files"))
    equal(listed, verbs())
    equal(sorted(set(re.findall(r"(--[a-z-]+=?)['\[}]", text))), options())
    for what in ("layers", "processes", "hazards"):
        found = re.search(r"%s\) columns=\(([^)]*)\)" % what, text)[1].split()
        equal(sorted(found), columns(what))


def main():
    for f in (bash_has_every_verb, bash_has_every_option, bash_has_every_value, bash_has_every_column, bash_has_what_there_is,
              bash_asks_the_machine_that_is_meant, bash_is_quiet_without_a_daemon, bash_completes_paths, zsh_knows_all):
        case(f)
    if shutil.which("shellcheck"):
        case(bash_passes_shellcheck)
    if shutil.which("zsh"):
        case(zsh_completes)
    else:
        report("zsh completes # SKIP no zsh", None)
    return finish()


sys.exit(main())
