"""A stand-in for the cache of GitHub Actions, whose service nobody else can run. It keeps to what GitHub publishes of it: 200
entries are made and 1,500 are downloaded in a minute, all are 10 GB at most, of which those go that were not used
for longest; a key has at most 512 characters and no comma, an entry is not changed and not seen before it is finalized; a
branch sees its own entries and those of the default branch; the newest is found whose key begins in a given way. What
is uploaded goes to a blob by Azure's rules: blocks, whose names are of one length, and then their list."""

import base64
import json
import secrets
import threading
import time
from urllib.parse import parse_qs, urlsplit

from answers import Handler, Server

SERVICE = "/twirp/github.actions.results.api.v1.CacheService/"
MAIN = "refs/heads/main"
MINUTE = 60


class Entry:
    def __init__(self, scope, key, version):
        self.scope, self.key, self.version = scope, key, version
        self.blocks, self.content = {}, None
        self.is_final = False
        self.used = time.monotonic()
        # What is signed lets who has it do one thing.
        self.reading, self.writing = secrets.token_hex(16), secrets.token_hex(16)


class ActionsCache(Server):
    name = "ghac"
    is_brief = False
    lists = False
    # None can be asked for.
    keeps_conditions = None
    env_of_readers = None

    def __init__(self, work=None, tools=None, room=10 << 30):
        self.room = room
        self.entries = []
        # What each token may see, and where it writes.
        self.tokens = {}
        self.made, self.downloaded = [], []
        # What was asked for; and what is done in place of that, by its name.
        self.asked, self.faults = [], {}
        self.blocks = 0
        self.lock = threading.Lock()
        super().__init__(Cache)
        self.env = self.env_of(MAIN)

    def url(self):
        return "ghac://job"

    def env_of(self, branch):
        """What the runner gives to a job of a branch."""
        token = f"token.of-{len(self.tokens)}.{secrets.token_hex(16)}"
        self.tokens[token] = [branch, *([MAIN] if branch != MAIN else [])]
        return {"ACTIONS_RESULTS_URL": f"http://127.0.0.1:{self.port}/", "ACTIONS_RUNTIME_TOKEN": token}

    def final(self):
        return [entry for entry in self.entries if entry.is_final]

    def find(self, scopes, keys, version):
        for scope in scopes:
            seen = [e for e in self.final() if e.scope == scope and e.version == version]
            for key in keys:
                exact = [entry for entry in seen if entry.key == key]
                for entry in exact or [entry for entry in reversed(seen) if entry.key.startswith(key)]:
                    return entry
        return None

    def evict(self):
        while sum(len(entry.content) for entry in self.final()) > self.room:
            self.entries.remove(min(self.final(), key=lambda entry: entry.used))


def is_over(times, limit):
    """Whether something was done too often in a minute; else it is done once more."""
    now = time.monotonic()
    times[:] = [at for at in times if now - at < MINUTE]
    if len(times) >= limit:
        return True
    times.append(now)
    return False


class Cache(Handler):
    def say(self, **fields):
        self.reply(200, json.dumps(fields).encode())

    def refuse(self, status, code):
        self.reply(status, json.dumps({"code": code, "msg": code}).encode())

    def is_faulty(self, what):
        self.server.asked.append(what)
        fault = self.server.faults.get(what)
        if fault:
            self.close_connection = True
            fault(self.connection)
        return fault

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method = self.path.removeprefix(SERVICE)
        if self.is_faulty(method):
            return None
        scopes = self.server.tokens.get((self.headers["Authorization"] or "").removeprefix("Bearer "))
        if not scopes:
            return self.refuse(401, "unauthenticated")
        for key in [asked["key"], *asked.get("restore_keys", [])]:
            if not key or len(key) > 512 or "," in key:
                return self.refuse(400, "invalid_argument")
        with self.server.lock:
            answer = {"GetCacheEntryDownloadURL": self.named, "CreateCacheEntry": self.create,
                      "FinalizeCacheEntryUpload": self.finalize}  # fmt: skip
            return answer.get(method, lambda *_: self.refuse(404, "bad_route"))(scopes, asked)

    def signed(self, entry, signature):
        place = self.server.entries.index(entry)
        return f"http://127.0.0.1:{self.server.port}/blob/{place}?se=2030&sig={signature}"

    def named(self, scopes, asked):
        entry = self.server.find(scopes, [asked["key"], *asked.get("restore_keys", [])], asked["version"])
        if not entry:
            return self.say(ok=False)
        entry.used = time.monotonic()
        self.say(ok=True, signed_download_url=self.signed(entry, entry.reading), matched_key=entry.key)

    def create(self, scopes, asked):
        if is_over(self.server.made, 200):
            self.send_response(429)
            self.send_header("Retry-After", "60")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        new = Entry(scopes[0], asked["key"], asked["version"])
        if any((e.scope, e.key, e.version) == (new.scope, new.key, new.version) for e in self.server.entries):
            return self.refuse(409, "already_exists")
        self.server.entries.append(new)
        self.say(ok=True, signed_upload_url=self.signed(new, new.writing))

    def finalize(self, scopes, asked):
        for entry in self.server.entries:
            if (entry.scope, entry.key, entry.version) == (scopes[0], asked["key"], asked["version"]):
                if entry.is_final or entry.content is None or int(asked["size_bytes"]) != len(entry.content):
                    return self.refuse(400, "failed_precondition")
                entry.is_final = True
                self.server.entries.remove(entry)
                self.server.entries.append(entry)
                self.server.evict()
                return self.say(ok=True, entry_id="1")
        return self.refuse(404, "not_found")

    def blob(self, signature):
        path, query = urlsplit(self.path)[2:4]
        query = {name: value[0] for name, value in parse_qs(query).items()}
        named = [entry for entry in self.server.entries if getattr(entry, signature) == query.get("sig")]
        # The token is for the service alone.
        is_known = path.startswith("/blob/") and "Authorization" not in self.headers
        return (named[0] if named and is_known else None), query

    def do_GET(self):
        if self.is_faulty("download"):
            return None
        entry, _ = self.blob("reading")
        if not entry or not entry.is_final:
            return self.reply(403, b"<Error><Code>AuthenticationFailed</Code></Error>")
        if is_over(self.server.downloaded, 1500):
            return self.reply(429)
        self.reply(200, entry.content)

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.is_faulty("upload"):
            return None
        entry, query = self.blob("writing")
        if not entry or entry.is_final:
            return self.reply(403, b"<Error><Code>AuthenticationFailed</Code></Error>")
        if query.get("comp") == "block":
            name = query["blockid"]
            base64.b64decode(name, validate=True)
            if any(len(known) != len(name) for known in entry.blocks):
                return self.reply(400, b"<Error><Code>InvalidBlobOrBlock</Code></Error>")
            entry.blocks[name] = content
            self.server.blocks += 1
        elif query.get("comp") == "blocklist":
            names = [part.split("</Latest>")[0] for part in content.decode().split("<Latest>")[1:]]
            if not all(name in entry.blocks for name in names):
                return self.reply(400, b"<Error><Code>InvalidBlockList</Code></Error>")
            entry.content = b"".join(entry.blocks[name] for name in names)
        else:
            return self.reply(400, b"<Error><Code>InvalidQueryParameterValue</Code></Error>")
        self.reply(201)
