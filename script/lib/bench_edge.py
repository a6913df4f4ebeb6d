"""Loads our edge and other proxies side by side: one upstream, one load generator, the same cells, interleaved.

Called by `script/bench edge`, which builds the program first. Prints tables; judges nothing. CPU-seconds of the proxy per
100,000 requests are the main figure: on a machine that the load generator shares they say more than requests a second.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
SIZES = {"1 kB": ("1k", 1024), "100 kB": ("100k", 102400)}
# name: (over TLS, h2load's arguments, streams of a connection)
WIRES = {
    "h1": (False, ["--h1"], 1),
    "h1 TLS": (True, ["--h1"], 1),
    "h2c": (False, ["-m", "8"], 8),
    "h2 TLS": (True, ["-m", "8"], 8),
}
IDLE = 10_000
FILES = 65_536
# Requests a second of the paced runs, on 16 connections, and how many of these there are.
PACE = 1600
PACED = 5


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(number, name, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", number), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{name}: nothing listens on 127.0.0.1:{number} after {seconds} s")


def tree(pid):
    """The process and all that descend from it."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                todo += map(int, Path(f"/proc/{one}/task/{task}/children").read_text().split())
        except OSError:
            pass
    return found


def cpu_seconds(pid):
    total = 0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / TICKS


def resident_mib(pid):
    total = 0
    for one in tree(pid):
        try:
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total / 1024


class Proxy:
    """One of those compared: where it listens, and which process does the work."""

    def __init__(self, name, version, pid, plain, tls, host="127.0.0.1", h2c=True):
        self.name, self.version, self.pid, self.plain, self.tls = name, version, pid, plain, tls
        self.host, self.h2c = host, h2c
        self.cells = {}

    def url(self, over_tls, file):
        scheme, number = ("https", self.tls) if over_tls else ("http", self.plain)
        return f"{scheme}://{self.host}:{number}/{file}"

    def speaks(self, wire):
        return self.h2c or wire != "h2c"


def certificate(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())


UPSTREAM = r"""#!/bin/sh
cat > "$WORK/nginx-$PORT.conf" <<END
daemon off; user root; worker_processes 1; worker_rlimit_nofile 65536; pid $WORK/$PORT.pid; error_log stderr;
events { worker_connections 16384; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 1h; open_file_cache max=10;
  client_body_temp_path $WORK/b; proxy_temp_path $WORK/p; fastcgi_temp_path $WORK/f; uwsgi_temp_path $WORK/u; scgi_temp_path $WORK/s;
  server { listen $HOST:$PORT backlog=4096; root $FILES; }
}
END
exec nginx -c "$WORK/nginx-$PORT.conf"
"""


def ours(program, folder, files, running):
    plain, tls = port(), port()
    run = folder / "run.sh"
    run.write_text(UPSTREAM)
    run.chmod(0o755)
    (folder / "medeclipse.toml").write_text(f"""
[service.web]
command = ["{run}"]
env = {{ WORK = "{folder}", FILES = "{files}" }}
access_log = false
[service.web.rollout]
bake = "0s"
[service.web.headers]
preset = "strict"
[service.web.guard]
rate = [{{ name = "rate", limit = 100000000, window = "1m", burst = 10000000 }}]
login = {{ paths = ["/api/auth"], limit = 100, window = "1m" }}
head = {{ uri = "8KiB", fields = 100, bytes = "16KiB" }}
body = {{ max = "10MiB", rate_min = "1KiB" }}
[[service.web.route]]
path = "/{{file}}"
[environment.local]
listen = "127.0.0.1:{tls}"
listen_http = "127.0.0.1:{plain}"
redirect = false
[environment.local.tls]
cert = "{folder}/cert.pem"
key = "{folder}/key.pem"
""")
    def say(*words):
        done = subprocess.run([program, *words, "--state", folder / "state"], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"`medeclipse {' '.join(words)}` failed:\n{done.stdout}{done.stderr}")
        return done.stdout
    say("up", "--detach")
    running.append(lambda: say("down"))
    say("deploy", "web")
    status = json.loads(say("status", "--json"))
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
    edge = find(status, "edge")["pid"]
    # The upstream has written under which port it listens.
    [conf] = folder.glob("nginx-*.conf")
    return Proxy("medeclipse", version, edge, plain, tls), "127.0.0.1:" + conf.stem.removeprefix("nginx-")


def find(tree, key):
    return tree[key] if key in tree else next(find(value, key) for value in tree.values() if isinstance(value, dict))


def start(words, running, environment=None):
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=open(os.environ.get("BENCH_LOG", os.devnull), "a"))
    def end():
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    running.append(end)
    return process.pid


def version_of(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]


# What ours adds to every answer of the service.
ADDED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "X-Release": "e280c57eeffa",
    "X-Revision": "1",
}


class Extra:
    """A peer's name, and what stands around and within its servers so that it does what ours does, as far as it can be told."""

    def __init__(self, name, around="", within=""):
        self.name, self.around, self.within = name, around, within


NGINX_SAME = Extra("nginx-same", around="""
  limit_req_zone $binary_remote_addr zone=client:32m rate=1000000r/s;
  limit_req_zone $binary_remote_addr zone=login:32m rate=100r/m;
  client_max_body_size 10m; large_client_header_buffers 4 16k;
""", within="".join(f'    add_header {name} "{value}" always;\n' for name, value in ADDED.items()) + """
    add_header X-Request-Id $request_id always;
    limit_req zone=client burst=1000000 nodelay;
    proxy_set_header X-Request-Id $request_id; proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Port $server_port;
    location /api/auth { limit_req zone=client burst=1000000 nodelay; limit_req zone=login burst=20 nodelay; proxy_pass http://web; }
""")


def nginx(folder, upstream, running, extra=Extra("nginx")):
    plain, tls, own = port(), port(), folder / extra.name
    own.mkdir()
    conf = own / "nginx.conf"
    conf.write_text(f"""
daemon off; user root; worker_processes auto; worker_rlimit_nofile 65536; pid {own}/pid; error_log stderr;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 1h;{extra.around}
  client_body_temp_path {own}/b; proxy_temp_path {own}/p; fastcgi_temp_path {own}/f; uwsgi_temp_path {own}/u; scgi_temp_path {own}/s;
  upstream web {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{plain} backlog=4096; listen 127.0.0.1:{tls} ssl http2 backlog=4096;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    location / {{ proxy_pass http://web; }}
{extra.within}  }}
}}
""")
    pid = start(["nginx", "-c", str(conf)], running)
    # Debian's nginx speaks HTTP/2 only where the listener speaks nothing else.
    return Proxy(extra.name, version_of("nginx", "-v"), pid, plain, tls, h2c=False)


HAPROXY_SAME = Extra("haproxy-same", around="""
backend clients
  stick-table type ipv6 size 1m expire 1m store http_req_rate(1m)
backend logins
  stick-table type ipv6 size 1m expire 1m store http_req_rate(1m)
""", within="""
  acl login path_beg /api/auth
  http-request track-sc0 src table clients
  http-request track-sc1 src table logins if login
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100000000 } || login { sc_http_req_rate(1) gt 100 }
  http-request deny deny_status 413 if { req.body_size gt 10485760 }
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-var(txn.id) uuid()
  http-request set-header X-Request-Id %[var(txn.id)]
  http-response set-header X-Request-Id %[var(txn.id)]
""" + "".join(f"  http-response set-header {name} \"{value}\"\n" for name, value in ADDED.items()))


def haproxy(folder, upstream, running, extra=Extra("haproxy")):
    plain, tls = port(), port()
    conf = folder / f"{extra.name}.cfg"
    conf.write_text(f"""
global
  nbthread {os.cpu_count()}
  maxconn 12000
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  option forwardfor
  http-reuse always
frontend plain
  bind 127.0.0.1:{plain} backlog 4096
  default_backend web{extra.within}
frontend tls
  bind 127.0.0.1:{tls} ssl crt {folder}/both.pem alpn h2,http/1.1 backlog 4096
  default_backend web{extra.within}{extra.around}
backend web
  server one {upstream}
""")
    pid = start(["haproxy", "-db", "-f", str(conf)], running)
    return Proxy(extra.name, version_of("haproxy", "-v"), pid, plain, tls)


def caddy(folder, upstream, running):
    plain, tls = port(), port()
    (folder / "Caddyfile").write_text(f"""
{{
  admin off
  auto_https off
  servers {{
    protocols h1 h2 h2c
  }}
}}
http://127.0.0.1:{plain} {{
  reverse_proxy {upstream}
}}
https://127.0.0.1:{tls}, https://localhost:{tls} {{
  tls {folder}/cert.pem {folder}/key.pem
  reverse_proxy {upstream}
}}
""")
    pid = start(["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")], running)
    return Proxy("caddy", "caddy " + version_of("caddy", "version"), pid, plain, tls)


def find_kamal_proxy():
    return os.environ.get("KAMAL_PROXY") or shutil.which("kamal-proxy")


def kamal_proxy(folder, upstream, running):
    """Listens on every address, and writes a line of JSON for each request: it cannot be told otherwise."""
    program, plain, tls = find_kamal_proxy(), port(), port()
    own = folder / "kamal"
    own.mkdir()
    environment = {**os.environ, "HOME": str(own), "XDG_RUNTIME_DIR": str(own)}
    pid = start([program, "run", "--http-port", str(plain), "--https-port", str(tls)], running, environment)
    wait_for(plain, "kamal-proxy")
    deploy = [program, "deploy", "web", "--target", upstream, "--host", "localhost", "--health-check-path", "/1k"]
    secure = ["--tls", f"--tls-certificate-path={folder}/cert.pem", f"--tls-private-key-path={folder}/key.pem", "--tls-redirect=false"]
    done = subprocess.run([*deploy, *secure], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"`kamal-proxy deploy` failed:\n{done.stdout}{done.stderr}")
    version = os.environ.get("KAMAL_PROXY_VERSION", "of a version it does not tell")
    return Proxy("kamal-proxy", f"kamal-proxy {version}", pid, plain, tls, host="localhost", h2c=False)


PEERS = {
    "nginx": nginx,
    "nginx-same": lambda *world: nginx(*world, NGINX_SAME),
    "haproxy": haproxy,
    "haproxy-same": lambda *world: haproxy(*world, HAPROXY_SAME),
    "caddy": caddy,
    "kamal-proxy": kamal_proxy,
}


class Ran:
    """What one run showed."""

    def __init__(self, requests, failed, rps, cpu, p50, p99):
        self.requests, self.failed, self.rps, self.cpu, self.p50, self.p99 = requests, failed, rps, cpu, p50, p99


def load(proxy, wire, file, connections, seconds, folder, rate=None):
    over_tls, words, _ = WIRES[wire]
    log = folder / "requests.log"
    log.unlink(missing_ok=True)
    command = ["h2load", *words, "-c", str(connections), "-t", "1", "-D", str(seconds), "--log-file", str(log)]
    if rate:
        command += ["--rps", str(rate // connections)]
    before = cpu_seconds(proxy.pid)
    done = subprocess.run([*command, proxy.url(over_tls, file)], capture_output=True, text=True, timeout=seconds + 60)
    cpu = cpu_seconds(proxy.pid) - before
    times, failed = [], 0
    for line in log.read_text().splitlines() if log.exists() else []:
        _, status, taken = line.split("\t")[:3]
        failed += status != "200"
        times.append(int(taken))
    if not times:
        return Ran(0, 0, 0, cpu, float("nan"), float("nan"))
    times.sort()
    at = lambda q: times[min(len(times) - 1, int(q * len(times)))] / 1000
    return Ran(len(times), failed, len(times) / seconds, cpu / len(times) * 1e5, at(0.5), at(0.99))


def idle(proxy, count):
    """Memory with that many idle keep-alive connections, each of which has had one answer."""
    held = []
    request = f"GET /1k HTTP/1.1\r\nHost: {proxy.host}\r\n\r\n".encode()
    try:
        for number in range(count):
            # More than one loopback address: the ports of one would run out.
            one = socket.create_connection(("127.0.0.1", proxy.plain), 10, source_address=(f"127.0.1.{1 + number % 50}", 0))
            one.sendall(request)
            got = b""
            while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < 1024:
                part = one.recv(65536)
                if not part:
                    break
                got += part
            held.append(one)
        return resident_mib(proxy.pid)
    finally:
        for one in held:
            one.close()


def ratios(proxies, cells, value):
    """How many cells each peer loses, and the ratios ours to theirs."""
    mine = proxies[0]
    for peer in proxies[1:]:
        found = [value(mine, cell) / value(peer, cell) for cell in cells if value(peer, cell) and value(mine, cell)]
        if found:
            yield peer.name, found


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("program")
    words.add_argument("--seconds", type=int, default=2, help="of each run")
    words.add_argument("--rounds", type=int, default=2, help="the best of so many counts")
    words.add_argument("--connections", type=int, nargs="*", default=[1, 16, 64, 256])
    words.add_argument("--wires", nargs="*", default=list(WIRES), choices=list(WIRES))
    words.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    words.add_argument("--idle", type=int, default=IDLE)
    asked = words.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        # Two descriptors for each of the idle connections, and some.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, FILES), max(hard, FILES)))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder, running = Path(tempfile.mkdtemp(prefix="medeclipse-edge-")), []
    try:
        compare(asked, folder, running)
    finally:
        for end in reversed(running):
            end()
        shutil.rmtree(folder, ignore_errors=True)


def compare(asked, folder, running):
    files = folder / "files"
    files.mkdir()
    for name, size in SIZES.values():
        (files / name).write_bytes(os.urandom(size))
    certificate(folder)
    mine, upstream = ours(Path(asked.program).resolve(), folder, files, running)
    peers = [peer for peer in asked.peers if peer != "kamal-proxy" or find_kamal_proxy()]
    if peers != asked.peers:
        print("kamal-proxy: NOT MEASURED: it is not on the PATH, and KAMAL_PROXY does not name it")
    proxies = [mine] + [PEERS[peer](folder, upstream, running) for peer in peers]
    for proxy in proxies:
        wait_for(proxy.plain, proxy.name)
        wait_for(proxy.tls, proxy.name)
    print("versions: " + "; ".join(dict.fromkeys(proxy.version for proxy in proxies)) + "; one nginx worker as the upstream of all")
    print(f"{asked.seconds} s a run, {asked.rounds} rounds interleaved, the best of them by CPU; h2load with one thread;")
    print("ours with counting by route, a rate limit by client, login, head and body rules and security headers; the others only pass on,")
    print("`-same` do what of that they can be told: both limits, the body's bound, what is said of the client, request id, security headers\n")
    cells = [(wire, size, count) for wire in asked.wires for size in SIZES for count in asked.connections]
    failed = dict.fromkeys((proxy.name for proxy in proxies), 0)
    for wire, size, count in cells:
        for _ in range(asked.rounds):
            for proxy in proxies:
                if not proxy.speaks(wire):
                    continue
                ran = load(proxy, wire, SIZES[size][0], count, asked.seconds, folder)
                failed[proxy.name] += ran.failed
                before = proxy.cells.get((wire, size, count))
                if ran.requests and (before is None or ran.cpu < before.cpu):
                    proxy.cells[wire, size, count] = ran
    if cells:
        table(proxies, cells)
    paced(asked, proxies, folder)
    print("\nmemory with idle keep-alive connections (MiB, shared pages divided)")
    for proxy in proxies:
        print(f"  {proxy.name:<13} {asked.idle:>6} connections: {idle(proxy, asked.idle):6.1f}")
    print("\nanswers other than 200: " + ", ".join(f"{name} {count}" for name, count in failed.items()))


def table(proxies, cells):
    print("CPU-seconds of the proxy per 100,000 requests | requests a second")
    print(f"  {'cell':<24}" + "".join(f"{proxy.name:>18}" for proxy in proxies))
    for cell in cells:
        wire, size, count = cell
        shown = []
        for proxy in proxies:
            ran = proxy.cells.get(cell)
            shown.append(f"{ran.cpu:.2f} | {ran.rps:.0f}" if ran else "-")
        print(f"  {wire + ', ' + size + ', ' + str(count):<24}" + "".join(f"{text:>18}" for text in shown))
    print("\nours to theirs, CPU per request: median (least to most) of the cells; cells in which ours needs less")
    of = lambda proxy, cell: proxy.cells[cell].cpu if cell in proxy.cells else 0
    for size in SIZES:
        for name, found in ratios(proxies, [cell for cell in cells if cell[1] == size], of):
            less = sum(ratio < 1 for ratio in found)
            print(f"  {size:>6} {name:<13} {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}); {less} of {len(found)}")


def paced(asked, proxies, folder):
    """One run of a shared machine says little about its slowest hundredth: the middle and the least of some are printed."""
    print(f"\nlatency at {PACE} requests a second on 16 connections, 1 kB, ms: p50 | p99, the median (the least) of {PACED} runs, interleaved")
    for wire in asked.wires:
        speakers = [proxy for proxy in proxies if proxy.speaks(wire)]
        runs = {proxy.name: [] for proxy in speakers}
        for _ in range(PACED):
            for proxy in speakers:
                runs[proxy.name].append(load(proxy, wire, "1k", 16, asked.seconds * 2, folder, PACE))
        shown = lambda times: f"{statistics.median(times):.2f} ({min(times):.2f})"
        print(f"  {wire:<8} " + ", ".join(
            f"{name} {shown([ran.p50 for ran in of])} | {shown([ran.p99 for ran in of])}" for name, of in runs.items()))


main()
