// SPDX-License-Identifier: LGPL-2.1-or-later

// A server in Java, for test-servers.py: NBD with structured replies left out, over TCP, a thread for each connection and some that
// work for it. What is tested is its runtime: garbage collector, compilers and their threads.
//
// usage: java NbdServer.java FILE PORT

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

class NbdServer {
    static final long MAGIC = 0x4e42444d41474943L, OPTION_MAGIC = 0x49484156454f5054L, OPTION_REPLY_MAGIC = 0x3e889045565a9L;
    static final int REQUEST_MAGIC = 0x25609513, REPLY_MAGIC = 0x67446698;
    static final int OPTION_ABORT = 2, OPTION_INFO = 6, OPTION_GO = 7;
    static final int REPLY_ACK = 1, REPLY_INFO = 3, REPLY_UNSUPPORTED = (1 << 31) + 1;
    static final int READ = 0, WRITE = 1, DISCONNECT = 2, FLUSH = 3;
    static final int FLAGS = 1 | 4; // has flags, flush
    static final int EIO = 5;

    final FileChannel file;
    final ExecutorService pool = Executors.newFixedThreadPool(4);

    NbdServer(FileChannel file) {
        this.file = file;
    }

    static void reply(DataOutputStream out, int option, int type, ByteBuffer data) throws IOException {
        out.writeLong(OPTION_REPLY_MAGIC);
        out.writeInt(option);
        out.writeInt(type);
        out.writeInt(data.capacity());
        out.write(data.array());
        out.flush();
    }

    boolean negotiate(DataInputStream in, DataOutputStream out) throws IOException {
        out.writeLong(MAGIC);
        out.writeLong(OPTION_MAGIC);
        out.writeShort(1 | 2);
        out.flush();
        in.readInt();
        while (true) {
            if (in.readLong() != OPTION_MAGIC)
                throw new IOException("no option");
            int option = in.readInt();
            in.readNBytes(in.readInt());
            if (option == OPTION_GO || option == OPTION_INFO) {
                reply(out, option, REPLY_INFO, ByteBuffer.allocate(12).putShort((short) 0).putLong(file.size()).putShort((short) FLAGS));
                reply(out, option, REPLY_ACK, ByteBuffer.allocate(0));
                if (option == OPTION_GO)
                    return true;
            } else {
                reply(out, option, option == OPTION_ABORT ? REPLY_ACK : REPLY_UNSUPPORTED, ByteBuffer.allocate(0));
                if (option == OPTION_ABORT)
                    return false;
            }
        }
    }

    // Returns the data to be sent. A transfer that is short of what was asked is an error here, as nothing else shortens it.
    byte[] carryOut(int type, long offset, int length, byte[] data) throws IOException {
        if (type == FLUSH)
            file.force(false);
        else if (type == WRITE) {
            if (file.write(ByteBuffer.wrap(data), offset) != data.length)
                throw new IOException("short write");
        } else {
            ByteBuffer buffer = ByteBuffer.allocate(length);
            if (file.read(buffer, offset) != length)
                throw new IOException("short read");
            return buffer.array();
        }
        return new byte[0];
    }

    void answer(DataOutputStream out, int type, long handle, long offset, int length, byte[] data) {
        byte[] result = new byte[0];
        int error = 0;
        try {
            result = carryOut(type, offset, length, data);
        } catch (IOException e) {
            System.err.println("error: " + e);
            error = EIO;
        }
        try {
            synchronized (out) {
                out.writeInt(REPLY_MAGIC);
                out.writeInt(error);
                out.writeLong(handle);
                out.write(result);
                out.flush();
            }
        } catch (IOException e) {
            System.err.println("error: answer: " + e);
        }
    }

    void transmit(DataInputStream in, DataOutputStream out) throws IOException {
        while (true) {
            if (in.readInt() != REQUEST_MAGIC)
                throw new IOException("no request");
            int type = in.readInt(); // and flags, of which there are none
            long handle = in.readLong(), offset = in.readLong();
            int length = in.readInt();
            byte[] data = in.readNBytes(type == WRITE ? length : 0);
            if (type == DISCONNECT)
                return;
            pool.execute(() -> answer(out, type, handle, offset, length, data));
        }
    }

    void serve(Socket socket) {
        try (socket) {
            DataInputStream in = new DataInputStream(new java.io.BufferedInputStream(socket.getInputStream(), 65536));
            DataOutputStream out = new DataOutputStream(new java.io.BufferedOutputStream(socket.getOutputStream(), 65536));
            if (negotiate(in, out))
                transmit(in, out);
        } catch (EOFException e) {
            System.err.println("the client has left");
        } catch (IOException e) {
            System.err.println("error: " + e);
        }
    }

    public static void main(String[] args) throws IOException {
        NbdServer server = new NbdServer(new RandomAccessFile(args[0], "rw").getChannel());
        try (ServerSocket listener = new ServerSocket(Integer.parseInt(args[1]), 16, InetAddress.getLoopbackAddress())) {
            System.out.println("ready");
            while (true) {
                Socket socket = listener.accept();
                socket.setTcpNoDelay(true);
                new Thread(() -> server.serve(socket)).start();
            }
        }
    }
}
