// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/containerd/daemon"
	"github.com/paracell/paracell/integration/images"
)

// workload is what is done with an image.
type workload struct {
	image string
	// work is the shell script of a container; want is in its output, in this order.
	work string
	want []string
	// serve is the script of a container that runs on; "" is the image's own
	// command.
	serve string
	// ready is tried in it until it succeeds.
	ready string
	// exec is run in it when it is; said is in its output, in this order.
	exec string
	said []string
	// signal ends the container with status.
	signal string
	status int
}

// idle is a container that waits for being killed. As the first process of its
// namespace it has to ask for a signal to get it.
const idle = `trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done`

var workloads = []workload{
	{
		image: "busybox",
		work: `mkdir -p /data/a/b && cd /data && for i in $(seq 200); do echo "line $i" >a/b/$i; done
			find . -type f | wc -l; cat a/b/* | sort -t' ' -k2 -n | tail -1
			tar c a | gzip | gunzip | tar t | wc -l; cat a/b/* | md5sum; ps | grep -c 'sh -c'; id -u`,
		want:  []string{"200\n", "line 200\n", "202\n", "  -\n", "0\n"},
		serve: idle, exec: `ps | head -1; ps -o args | grep -v grep | grep -q 'exit 9' && echo 1; exit 0`, said: []string{"PID", "1"},
		signal: "TERM", status: 9,
	},
	{
		image: "debian",
		work: `set -e; . /etc/os-release; echo $ID; apt-get --version | head -1; dpkg -l | grep -c ^ii; dpkg --verify bash && echo verified
			perl -e 'my %h; $h{$_ % 7}++ for 1..700000; print join(",", map {$h{$_}} sort keys %h), "\n"'
			useradd -m someone && su someone -c 'cd && touch f && stat -c %U f'`,
		want:  []string{"debian", "apt ", "\n", "verified", "100000,100000,100000,100000,100000,100000,100000", "someone"},
		serve: idle, exec: `cat /proc/1/cmdline | tr '\0' ' '; for i in 1 2 3; do (exit $i); echo $?; done`, said: []string{"exit 9", "1\n2\n3\n"},
		signal: "KILL", status: 137,
	},
	{
		image: "python3",
		work: `cat >/tmp/t.py <<-'E'
			import concurrent.futures, hashlib, json, multiprocessing, sqlite3, subprocess, threading, os
			def work(n): return hashlib.sha256(b"x" * n).hexdigest()
			if __name__ == "__main__":
			    with multiprocessing.Pool(3) as p: print("pool", len(set(p.map(work, range(50)))))
			    with concurrent.futures.ThreadPoolExecutor(8) as e: print("threads", sum(e.map(int, map(str, range(1000)))))
			    db = sqlite3.connect("/tmp/t.db"); db.execute("create table t(a)"); db.executemany("insert into t values(?)", [(i,) for i in range(1000)]); db.commit()
			    print("sum", db.execute("select sum(a) from t").fetchone()[0])
			    print("child", subprocess.run(["sh", "-c", "echo $((6*7)); exit 5"], capture_output=True))
			    print(json.dumps({"uname": os.uname().sysname}))
			E
			python3 /tmp/t.py`,
		want:  []string{"pool 50", "threads 499500", "sum 499500", "returncode=5", `stdout=b'42\n'`, `{"uname": "Linux"}`},
		serve: `exec python3 -c 'import http.server as h; h.HTTPServer(("127.0.0.1", 8000), h.SimpleHTTPRequestHandler).serve_forever()'`,
		ready: `python3 -c 'import urllib.request as u; u.urlopen("http://127.0.0.1:8000/")'`,
		exec:  `python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8000/etc/passwd").read().decode().split("\n")[0])'`,
		said:  []string{"root:x:0:0"}, signal: "KILL", status: 137,
	},
	{
		image: "nodejs",
		work: `cat >/tmp/t.js <<-'E'
			const { Worker, isMainThread, parentPort } = require("worker_threads"), zlib = require("zlib"), fs = require("fs"), cp = require("child_process")
			if (!isMainThread) { parentPort.postMessage([...Array(1000).keys()].reduce((a, b) => a + b)) } else {
			  fs.writeFileSync("/tmp/f", zlib.gzipSync("y".repeat(1e6))); console.log("gunzip", zlib.gunzipSync(fs.readFileSync("/tmp/f")).length)
			  console.log("child", cp.execSync("echo out").toString().trim())
			  Promise.all([1, 2, 3].map(() => new Promise(r => new Worker(__filename).on("message", r)))).then(v => console.log("workers", v.join(" ")))
			}
			E
			node /tmp/t.js; node -e 'process.exit(7)'; echo status $?`,
		want:  []string{"gunzip 1000000", "child out", "workers 499500 499500 499500", "status 7"},
		serve: `exec node -e 'require("http").createServer((q, r) => r.end("hello " + q.url + "\n")).listen(8000, "127.0.0.1"); process.on("SIGTERM", () => process.exit(6))'`,
		ready: `node -e 'require("http").get("http://127.0.0.1:8000/", r => r.resume()).on("error", () => process.exit(1))'`,
		exec:  `node -e 'require("http").get("http://127.0.0.1:8000/it", r => r.pipe(process.stdout))'`,
		said:  []string{"hello /it"}, signal: "TERM", status: 6,
	},
	{
		image: "redis",
		work: `cd /tmp; redis-server --daemonize yes --save "" --appendonly yes >/dev/null; until redis-cli ping >/dev/null 2>&1; do sleep 0.05; done
			redis-cli set greeting hello; redis-cli get greeting; redis-benchmark -q -n 2000 -c 20 -t set,get,lpush | tr '\r' '\n' | grep -c 'requests per second'
			redis-cli eval 'local s = 0; for i = 1, 100 do s = s + redis.call("incr", "n") end; return s' 0; redis-cli shutdown nosave; exit 0`,
		want:  []string{"OK", "hello", "3", "5050"},
		ready: `redis-cli ping`,
		exec:  `redis-cli set a 1; redis-cli incr a; redis-cli lpush l x y z; redis-cli lrange l 0 -1; redis-cli bgsave; redis-cli info server | grep ^os; id -un`,
		said:  []string{"OK", "2", "3", "z\ny\nx", "saving started", "os:Linux 6.12", "redis"}, signal: "TERM", status: 0,
	},
	{
		image: "nginx",
		work:  `nginx -t 2>&1; nginx; curl -sI http://127.0.0.1/ | tr -d '\r'; for i in $(seq 50); do curl -s http://127.0.0.1/; done | grep -c 'Welcome to nginx'; nginx -s quit`,
		want:  []string{"test is successful", "HTTP/1.1 200 OK", "Server: nginx", "100"},
		ready: `curl -sf http://127.0.0.1/`,
		exec: `head -c 3000000 /dev/urandom >/var/www/html/big; curl -s http://127.0.0.1/big | cmp - /var/www/html/big && echo same
			exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET /nothing HTTP/1.0\r\n\r\n' >&3; head -1 <&3`,
		said: []string{"same", "404 Not Found"}, signal: "QUIT", status: 0,
	},
	{
		image: "postgresql",
		work: `set -e; P=$(echo /usr/lib/postgresql/*/bin); export PGDATA=/tmp/pg; $P/initdb -A trust >/dev/null
			$P/pg_ctl -s -w -l /tmp/log -o '-k /tmp' start; Q="psql -h /tmp -qAt"
			$Q -c 'create table t(a int primary key, b text); insert into t select n, md5(n::text) from generate_series(1, 20000) n'
			$Q -c 'select count(*), sum(a) from t'; $Q -c 'select b from t where a = 17' ; $Q -c 'begin; delete from t; rollback; select count(*) from t'
			$P/pg_ctl -s -w stop -m fast; echo stopped`,
		want:  []string{"20000|200010000", "70efdf2ec9b086079795c442636b55fb", "20000", "stopped"},
		serve: `P=$(echo /usr/lib/postgresql/*/bin); $P/initdb -A trust -D /tmp/pg >/dev/null && exec $P/postgres -D /tmp/pg -k /tmp`,
		ready: `psql -h /tmp -qAt -c 'select 1'`,
		exec:  `psql -h 127.0.0.1 -qAt -c 'create table u(a int); insert into u values (1), (2); select sum(a) from u' ; ps x 2>/dev/null; id -un`,
		said:  []string{"3", "postgres"}, signal: "INT", status: 0,
	},
	{
		image: "git",
		work: `set -e; export HOME=/root; git config --global user.name A; git config --global user.email a@b; git init -q -b main /r; cd /r
			for i in $(seq 100); do echo $i >f$i; done; git add .; git commit -qm first; echo more >>f1; git commit -qam second
			git clone -q /r /c; cd /c; git log --format=%s; git status --porcelain | wc -l; git checkout -q -b side HEAD~; echo other >f2; git commit -qam third
			git merge -q main -m merged; git gc -q; git fsck 2>&1; git log --oneline | wc -l; git ls-files | wc -l`,
		want:  []string{"second\nfirst\n", "0\n", "4\n", "100\n"},
		serve: idle, exec: `git --version && git init -q /x && git -C /x rev-parse --is-inside-work-tree`, said: []string{"git version", "true"},
		signal: "TERM", status: 9,
	},
	{
		image: "gcc",
		work: `cd /tmp; cat >p.c <<-'E'
			#include <pthread.h>
			#include <stdio.h>
			#include <stdatomic.h>
			static atomic_int n; static void *f(void *x) { for (int i = 0; i < 100000; i++) n++; return 0; }
			int main(void) { pthread_t t[4]; for (int i = 0; i < 4; i++) pthread_create(t + i, 0, f, 0); for (int i = 0; i < 4; i++) pthread_join(t[i], 0); printf("n = %d\n", n); return 3; }
			E
			gcc -O2 -Wall -pthread -o p p.c && ./p; echo status $?; gcc -static -o s p.c && ./s; gcc -fsyntax-only -x c - <<<'int main(void) { return x; }' 2>&1 | grep -c error:`,
		want:  []string{"n = 400000", "status 3", "n = 400000", "1\n"},
		serve: idle, exec: `echo 'int main(void) { return 5; }' >/q.c; gcc -o /q /q.c; /q; echo $?`, said: []string{"5"},
		signal: "KILL", status: 137,
	},
	{
		image: "sqlite3",
		work: `cd /tmp; sqlite3 t.db "pragma journal_mode=wal; create table t(a integer primary key, b text);
			with recursive n(i) as (select 1 union all select i+1 from n where i < 20000) insert into t select i, hex(i*i) from n; select count(*), max(b) from t; pragma integrity_check"
			for i in 1 2 3 4; do (for j in $(seq 10); do sqlite3 -cmd '.timeout 20000' t.db "update t set b = b || 'x' where a = 1" || echo failed; done) & done; wait
			sqlite3 t.db "select length(replace(b, 'x', '')) < length(b), length(b) - length(rtrim(b, 'x')) from t where a = 1"`,
		want:  []string{"wal", "20000|", "ok", "1|40"},
		serve: idle, exec: `sqlite3 :memory: 'select 6*7'`, said: []string{"42"},
		signal: "TERM", status: 9,
	},
	{
		image: "openjdk",
		work: `mkdir /j && cd /j; cat >M.java <<-'E'
			import java.util.concurrent.*; import java.util.stream.*;
			public class M { public static void main(String[] a) throws Exception {
			  System.out.println("hello from " + System.getProperty("os.name"));
			  var p = Executors.newFixedThreadPool(8); var f = new java.util.ArrayList<Future<Integer>>();
			  for (int i = 0; i < 100; i++) { int n = i; f.add(p.submit(() -> IntStream.rangeClosed(0, n).sum())); }
			  int s = 0; for (var x : f) s += x.get(); p.shutdown(); System.out.println("sum " + s);
			  System.out.println("parallel " + LongStream.range(0, 3_000_000).parallel().filter(x -> x % 3 == 0).count());
			  byte[][] g = new byte[2000][]; for (int i = 0; i < 20000; i++) g[i % 2000] = new byte[10000]; System.gc();
			  try { Object o = null; o.hashCode(); } catch (NullPointerException e) { System.out.println("caught"); } System.exit(4); } }
			E
			javac M.java && java M; echo status $?`,
		want:  []string{"hello from Linux", "sum 166650", "parallel 1000000", "caught", "status 4"},
		serve: idle, exec: `java -version 2>&1 | head -1`, said: []string{"openjdk version"},
		signal: "KILL", status: 137,
	},
}

// patience is for one script; the slowest takes some seconds.
const patience = 2 * time.Minute

func TestWorkloads(t *testing.T) {
	var names []string
	for _, w := range workloads {
		names = append(names, w.image)
	}
	for _, name := range images.Names() {
		// integration/pods has the one that does nothing, integration/emulated
		// the small one.
		if name != "pause" && name != "python3-bare" && !slices.Contains(names, name) {
			t.Errorf("image %s has no workload", name)
		}
	}
	d := daemon.Start(t, daemon.Options{Images: names})
	t.Run("images", func(t *testing.T) { // ends when the parallel ones have
		for _, w := range workloads {
			t.Run(w.image, func(t *testing.T) {
				t.Parallel()
				w.run(t, d)
			})
		}
	})
}

func (w *workload) run(t *testing.T, d *daemon.Daemon) {
	ref, shell := images.Ref(w.image), []string{"/bin/bash", "-c"}
	if w.image == "busybox" {
		shell[0] = "/bin/sh"
	}
	create := []string{"run", "--runtime", daemon.Runtime}
	out, errOut, status := ctr(t, d, append(append(create, "--rm", ref, w.image+"-work"), append(shell, w.work)...)...)
	if status != 0 || !inOrder(out, w.want) {
		t.Fatalf("work: status %d, want in the output %q:\n%s\n%s", status, w.want, out, errOut)
	}

	id := w.image + "-serve"
	create = append(create, "-d", ref, id)
	if w.serve != "" {
		create = append(create, append(shell, w.serve)...)
	}
	if _, errOut, status := ctr(t, d, create...); status != 0 {
		t.Fatalf("start: status %d: %s", status, errOut)
	}
	defer ctr(t, d, "container", "rm", id)
	ended := false
	defer func() {
		if !ended {
			ctr(t, d, "task", "rm", "-f", id)
		}
	}()
	in := func(script string) (string, string, int) {
		return ctr(t, d, append([]string{"task", "exec", "--exec-id", "e", id}, append(shell, script)...)...)
	}
	if w.ready != "" {
		for end := time.Now().Add(patience); ; {
			_, errOut, status := in(w.ready)
			if status == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("not ready after %v: %s", patience, errOut)
			}
		}
	}
	if out, errOut, status := in(w.exec); status != 0 || !inOrder(out, w.said) {
		t.Errorf("exec: status %d, want in the output %q:\n%s\n%s", status, w.said, out, errOut)
	}
	if _, errOut, status := ctr(t, d, "task", "kill", "-s", "SIG"+w.signal, id); status != 0 {
		t.Fatalf("kill: status %d: %s", status, errOut)
	}
	// Deleting a task that has not ended is an error.
	for end := time.Now().Add(patience); ; {
		out, errOut, _ := ctr(t, d, "task", "ls")
		if strings.Contains(line(out, id), "STOPPED") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("SIG%s does not end it: %s%s", w.signal, out, errOut)
		}
	}
	_, errOut, status = ctr(t, d, "task", "rm", id)
	ended = status == 0
	// ctr tells a status that is not 0 in a warning.
	got := 0
	if _, after, ok := strings.Cut(errOut, "exit with non-zero exit code "); ok {
		fmt.Sscan(strings.TrimRight(after, "\"\n"), &got)
	}
	if status != 0 || got != w.status {
		t.Errorf("after SIG%s status %d, want %d\n%s", w.signal, got, w.status, errOut)
	}
}

// line is the one that begins with the word.
func line(text, word string) string {
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, word+" ") {
			return l
		}
	}
	return ""
}

// inOrder says whether all parts are in the text, one after the other.
func inOrder(text string, parts []string) bool {
	for _, p := range parts {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return true
}

func ctr(t *testing.T, d *daemon.Daemon, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	out, errOut, err := d.CTR(t, "", args...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return out, errOut, exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("ctr %v: %v\n%s%s", args, err, out, errOut)
	}
	return out, errOut, 0
}
