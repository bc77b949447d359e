"""A stand-in for bazel-remote, which cannot be installed here: a Go program that no registry of packages has. It keeps to
what that server's README says and its code does: an action result has to be one, and is gone when what it names
is; content has to have the digest of its name; nothing comes without a length, or is longer than may be; who is
not known may read (`--allow_unauthenticated_reads`). Results are written anew, with a field more."""

import base64
import hashlib
import re

from answers import Handler, Server

PLACE = re.compile(r"/(?:.*/)?(ac|cas)/([a-f0-9]{64})")


class BazelRemote(Server):
    name = "bazel"
    is_brief = False
    lists = False
    keeps_conditions = False
    env = {"BAZEL_CACHE_USERNAME": "writer", "BAZEL_CACHE_PASSWORD": "writers-secret"}
    # None: whoever asks.
    env_of_readers = {"BAZEL_CACHE_USERNAME": ""}

    def __init__(self, work=None, tools=None, longest=64 << 20):
        self.objects = {}
        self.longest = longest
        super().__init__(Cache)

    def url(self):
        return f"bazel+http://127.0.0.1:{self.port}/team"

    def holds(self, place):
        """Whether there is such a thing, and what it names."""
        if place not in self.objects:
            return False
        return place[0] == "cas" or all(("cas", name) in self.objects for name in names(self.objects[place]))


class Cache(Handler):
    def place(self):
        found = PLACE.fullmatch(self.path)
        return found and found.groups()

    def do_GET(self):
        place = self.place()
        if not place:
            return self.reply(400, b"resource name must be a SHA256 hash in hex")
        if not self.server.holds(place):
            return self.reply(404, b"Not found")
        self.reply(200, self.server.objects[place])

    do_HEAD = do_GET

    def do_PUT(self):
        if "Content-Length" not in self.headers:
            self.close_connection = True
            return self.reply(400, b"PUT without Content-Length")
        content = self.rfile.read(int(self.headers["Content-Length"]))
        place, server = self.place(), self.server
        login = base64.b64encode(":".join(server.env.values()).encode()).decode()
        if self.headers["Authorization"] != f"Basic {login}":
            return self.reply(401, b"not authorized")
        if not place:
            return self.reply(400, b"resource name must be a SHA256 hash in hex")
        if len(content) > server.longest:
            return self.reply(400, f"Blob size {len(content)} too large, max {server.longest}".encode())
        if place[0] == "cas" and hashlib.sha256(content).hexdigest() != place[1]:
            return self.reply(500, b"checksums don't match")
        if place[0] == "ac":
            try:
                names(content)
            except ValueError as e:
                return self.reply(400, str(e).encode())
            # ExecutedActionMetadata with a worker.
            content += b"\x4a\x0b\x0a\x09127.0.0.1"
        server.objects[place] = content
        self.reply(200)


def fields(message):
    """Those of a protocol buffer."""
    at = 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            if at >= len(message):
                raise ValueError("unexpected EOF")
            byte = message[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    found = []
    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        elif kind in (1, 2, 5):
            length = {1: 8, 5: 4}.get(kind) or varint()
            if at + length > len(message):
                raise ValueError("unexpected EOF")
            value = message[at : at + length]
            at += length
        else:
            raise ValueError("cannot parse invalid wire-format data")
        found.append((key >> 3, value))
    return found


def names(result):
    """The digests of the files of an action result; an error if it is none, or has no such names."""
    digests = []
    for number, value in fields(result):
        if number == 2:
            file = dict(fields(value))
            digest = dict(fields(file.get(2, b"")))
            if not file.get(1) or file[1].startswith(b"/"):
                raise ValueError("a file without a path, or with one from the root")
            if not re.fullmatch(rb"[a-f0-9]{64}", digest.get(1, b"")) or digest.get(2, 0) < 0:
                raise ValueError("a file without a digest")
            digests.append(digest[1].decode())
    return digests
