"""Servers that fail, each in one way. They stand in for no engine: what they do is the fault itself."""

import contextlib
import socket
import ssl
import threading

from answers import Handler, Server


class Broken:
    """Lets a function talk with each client, in a thread of its own."""

    def __init__(self, talk):
        self.talk = talk
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.over = threading.Event()
        self.clients = 0

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.socket.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                self.clients += 1
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, contextlib.suppress(OSError, ValueError):
            self.talk(client, self.over)


def hears(client):
    """Reads the head of a request."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(4096)
        if not more:
            raise OSError("the client has gone")
        head += more
    return head


def hang(client, over):
    over.wait()


def answer_and_hang(client, over):
    hears(client)
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegins")
    over.wait()


def drip(client, over):
    hears(client)
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not over.wait(1):
        client.sendall(b"x")


def trickle(client, over):
    """Never pauses for long, and gets nowhere."""
    hears(client)
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not over.wait(0.1):
        client.sendall(b"x" * 100)


def drip_the_head(client, over):
    hears(client)
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n":
        client.sendall(bytes([byte]))
        if over.wait(1):
            return


def cut(client, over):
    hears(client)
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)


def closing_once():
    """Whoever asks for something first finds the connection closed before there is an answer; who asks for it again finds
    nothing, in good order."""
    asked = set()

    def talk(client, over):
        line, _ = hears(client).split(b"\r\n", 1)
        if line in asked:
            client.sendall(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        asked.add(line)

    return talk


def babble(client, over):
    hears(client)
    client.sendall(b"\0\xff" * 1000)


def flood(client, over):
    """An object without an end."""
    hears(client)
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not over.is_set():
        client.sendall(b"x" * 65536)


def says(status, headers=""):
    def talk(client, over):
        while True:
            head = hears(client)
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            have = len(head.split(b"\r\n\r\n", 1)[1])
            while have < length:
                have += len(client.recv(65536)) or length
            client.sendall(f"HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n".encode())

    return talk


def tls_with(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class Bucket(Server):
    """Objects in memory under S3's rule that what is missing is denied to who may not list, which no server that
    installs here enforces. Notes what is asked of it, and checks no signature."""

    def __init__(self, tls=None):
        self.objects = {}
        self.methods = []
        super().__init__(Objects)
        self.scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def url(self):
        return f"s3://cache/rust?endpoint={self.scheme}://127.0.0.1:{self.port}"


class Objects(Handler):
    def do_GET(self):
        self.server.methods.append(self.command)
        content = self.server.objects.get(self.path)
        if content is None:
            self.reply(403, b"<Error><Code>AccessDenied</Code></Error>")
        else:
            self.reply(200, content)

    do_HEAD = do_GET

    def do_PUT(self):
        self.server.methods.append(self.command)
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("If-None-Match") == "*" and self.path in self.server.objects:
            return self.reply(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        self.server.objects[self.path] = content
        self.reply(200)
