package main

import (
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"owl/internal/testprog"
	"owl/owamp/owp"
)

// TestFailure runs powstreams that something goes wrong with.
func TestFailure(t *testing.T) {
	owampd := testprog.Build(t, "owl/cmd/owampd")
	for name, test := range map[string]func(t *testing.T, owampd string){
		"MutePeer":   testMutePeer,
		"PeerReturn": testPeerReturn,
		"Killed":     testKilled,
		"NoReader":   testNoReader,
		"Handshake":  testHandshake,
		"Stall":      testStall,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, owampd)
		})
	}
	t.Run("NoSuchHost", testNoSuchHost)
	t.Run("NoSuchSource", testNoSuchSource)
}

// testMutePeer: a peer that does not answer any more does not keep powstream
// from ending, nor from writing what there is.
func testMutePeer(t *testing.T, owampd string) {
	server := serve(t, owampd, "127.0.0.1:0")
	p, dir := powstream(t, []string{"-c", "6000", "-i", "0.01", "-L", "30"}, server.addr)
	awaitRecords(t, dir)
	server.Signal(syscall.SIGSTOP)
	begin := time.Now()
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	took := time.Since(begin)
	t.Logf("ended %v after SIGTERM", took.Round(time.Millisecond))
	if took > 10*time.Second { // 0.4 s, were it not for what else this machine does
		t.Errorf("ended %v after SIGTERM: it has waited for the peer", took)
	}
	for _, r := range checkPrinted(t, dir, p.Stdout.Lines()) {
		if r.Finished != owp.Incomplete {
			t.Errorf("the session is %v, want it incomplete", r.Finished)
		}
	}
	if len(p.Stdout.Lines()) != 2 {
		t.Errorf("printed %q, want an .owp and a .sum", p.Stdout.Lines())
	}
}

// testPeerReturn: what was measured up to the death of a peer is kept, and the
// stream goes on when the peer is back.
func testPeerReturn(t *testing.T, owampd string) {
	server := serve(t, owampd, "127.0.0.1:0")
	p, dir := powstream(t, []string{"-c", "6000", "-i", "0.01", "-L", "1"}, server.addr)
	awaitRecords(t, dir)
	server.Signal(syscall.SIGKILL)
	p.AwaitText(t, p.Stdout, ".sum\n", 1)
	p.AwaitText(t, p.Stderr, "connection refused; trying again in ", 1)
	serve(t, owampd, server.addr)
	p.AwaitText(t, p.Stderr, "no data for ", 1)
	awaitRecords(t, dir)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	all := checkPrinted(t, dir, p.Stdout.Lines())
	if len(all) != 2 || all[0].Finished != owp.Incomplete || all[1].Finished != owp.Normal {
		t.Errorf("%d sessions, want an incomplete one and one that was stopped", len(all))
	}
	lines := said(p)
	if !strings.Contains(lines[0], "peer closed the connection; trying again in") && !strings.Contains(lines[0], "connection reset by peer; trying again in") {
		t.Errorf("first line %q", lines[0])
	}
	gaps := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, "no data for ") })
	if len(gaps) != 1 || !strings.HasSuffix(gaps[0], ": control_lost") {
		t.Errorf("gaps %q, want one, of control_lost", gaps)
	}
}

// testKilled: kill -9 leaves nothing half under a final name, and the next start
// recovers what had been on disk.
func testKilled(t *testing.T, owampd string) {
	server := serve(t, owampd, "127.0.0.1:0")
	cmd, dir := newCommand(t, append(endless, server.addr)...)
	p := testprog.Start(t, cmd)
	part := awaitRecords(t, dir)
	p.Signal(syscall.SIGKILL)
	p.ExitCode(t)
	info, err := os.Stat(part)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".owp") || strings.HasSuffix(e.Name(), ".sum") {
			t.Errorf("%s exists after kill -9", e.Name())
		}
	}

	again, _ := newCommand(t, append(endless, server.addr)...)
	again.Args = cmd.Args
	next := testprog.Start(t, again)
	next.AwaitText(t, next.Stderr, "recovered as an incomplete session\n", 1)
	if code := next.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	recovered := files(t, dir)
	if len(recovered) == 0 {
		t.Fatal("no file")
	}
	r := checkFile(t, recovered[0])
	// A header of at most 200 octets precedes records of 25.
	if want := int(info.Size()-200) / 25; len(r.records) < want || r.Finished != owp.Incomplete {
		t.Errorf("%v with %d records, want %d or more of an incomplete session", r.Finished, len(r.records), want)
	}
}

// testNoReader: when nobody reads the names any more powstream ends, with what
// there is written.
func testNoReader(t *testing.T, owampd string) {
	server := serve(t, owampd, "127.0.0.1:0")
	cmd, dir := newCommand(t, append(short, server.addr)...)
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = theirs
	p := testprog.Start(t, cmd)
	theirs.Close()
	if _, err := ours.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	if code := p.ExitCode(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	lines := said(p)
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "ending, for the names of files (-p) cannot be printed: ") || !strings.HasSuffix(lines[0], "broken pipe") {
		t.Errorf("stderr: %q", lines)
	}
	for _, path := range files(t, dir) {
		checkFile(t, path)
	}
}

// testNoSuchHost: a name that cannot be looked up now may be later.
func testNoSuchHost(t *testing.T) {
	p, dir := powstream(t, short, "host.invalid")
	p.AwaitText(t, p.Stderr, "; trying again in ", 1)
	if code := p.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	lines := said(p)
	for _, l := range lines[:len(lines)-1] {
		if !strings.HasPrefix(l, `OWPControlOpen(host.invalid): host "host.invalid": `) || !strings.Contains(l, "; trying again in ") {
			t.Errorf("stderr: %q", l)
		}
	}
	if got := files(t, dir); len(got) > 0 {
		t.Errorf("files %q", got)
	}
}

// testNoSuchSource: as may be an address of this host.
func testNoSuchSource(t *testing.T) {
	want := map[string]string{
		"-Snosuch.invalid": `OWPControlOpen(127.0.0.1): source "nosuch.invalid": host "nosuch.invalid": `,
		"-S192.0.2.1":      "OWPControlOpen(127.0.0.1): Couldn't open 'control' connection to server 127.0.0.1:861 from 192.0.2.1: cannot assign requested address; ",
		"-S::1":            `OWPControlOpen(127.0.0.1): source "::1": no address that can talk to 127.0.0.1; `,
		"-Bnosuch0":        "OWPControlOpen(127.0.0.1): Couldn't open 'control' connection to server 127.0.0.1:861: binding to device nosuch0: ",
		"-6":               `OWPControlOpen(127.0.0.1): host "127.0.0.1": no IPv6 address; `,
	}
	tries := make(map[string]*testprog.Process)
	for option := range want {
		tries[option], _ = powstream(t, short, option, "127.0.0.1")
	}
	for option, p := range tries {
		p.AwaitText(t, p.Stderr, "; trying again in ", 1)
		p.Terminate(t)
		if got := said(p)[0]; !strings.HasPrefix(got, want[option]) {
			t.Errorf("%s: %q, want %q…", option, got, want[option])
		}
	}
}

// Where the messages of a server end that sets up a session, in octets from the
// first: Server-Greeting, Server-Start, Accept-Session, Start-Ack.
var steps = []int{64, 64 + 48, 64 + 48 + 48, 64 + 48 + 48 + 32}

// What a [proxy] does to what a server says.
const (
	closes  = iota // ends the connection
	garbles        // goes on with other octets
	stalls         // says nothing more
)

// A proxy stands between a client and a server. It harms the first connection
// and passes on the others.
type proxy struct {
	addr   string
	harmed chan struct{} // closed when the harm is done
}

// newProxy returns a proxy to server that does harm after so many octets.
func newProxy(t *testing.T, server string, harm, after int) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), harmed: make(chan struct{})}
	var work sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	work.Go(func() {
		for first := true; ; first = false {
			client, err := l.Accept()
			if err != nil {
				return
			}
			remote, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			mu.Lock()
			open = append(open, client, remote)
			mu.Unlock()
			work.Go(func() {
				io.Copy(remote, client)
				remote.Close()
			})
			work.Go(func() {
				defer client.Close()
				if first {
					io.CopyN(client, remote, int64(after))
					p.do(harm, client, remote)
					return
				}
				io.Copy(client, remote)
			})
		}
	})
	return p
}

func (p *proxy) do(harm int, client, remote net.Conn) {
	if harm == garbles {
		client.Write([]byte(strings.Repeat("HTTP/1.1 400 Bad Request\r\n", 20)))
	}
	close(p.harmed)
	if harm != closes {
		io.Copy(io.Discard, remote) // until the client gives up
	}
	remote.Close()
}

// testHandshake: whatever a server says or does not say in the setting up of a
// session is told in one line, and the session is tried again.
func testHandshake(t *testing.T, owampd string) {
	server := serve(t, owampd, "127.0.0.1:0")
	type try struct {
		name, message string
		p             *testprog.Process
		dir           string
	}
	var tries []try // at once, for most of the time they wait
	for h, harm := range []string{closes: "closes", garbles: "garbles"} {
		after := 0
		for i, message := range []string{"Server-Greeting", "Server-Start", "Accept-Session", "Start-Ack"} {
			proxy := newProxy(t, server.addr, h, after)
			after = steps[i]
			p, dir := powstream(t, short, "127.0.0.1", proxy.addr)
			tries = append(tries, try{harm + " " + message, message, p, dir})
		}
	}
	for _, try := range tries {
		try.p.AwaitText(t, try.p.Stdout, ".sum\n", 1)
		if code := try.p.Terminate(t); code != 0 {
			t.Errorf("%s: exit code %d", try.name, code)
		}
		checkPrinted(t, try.dir, try.p.Stdout.Lines())
		lines := said(try.p)
		if !strings.Contains(lines[0], try.message) || !strings.HasSuffix(lines[0], "; trying again in 500ms") ||
			!strings.HasPrefix(lines[1], "no data for ") || !strings.HasSuffix(lines[1], ": handshake_failed") {
			t.Errorf("%s: stderr %q", try.name, lines)
		}
		t.Logf("%s: %s", try.name, lines[0])
	}
}

// testStall: nor does a server that stalls in it keep powstream from ending.
func testStall(t *testing.T, owampd string) {
	server := serve(t, owampd, "127.0.0.1:0")
	for _, after := range append([]int{0, 32}, steps[:len(steps)-1]...) {
		proxy := newProxy(t, server.addr, stalls, after)
		p, dir := powstream(t, short, "127.0.0.1", proxy.addr)
		<-proxy.harmed
		if code := p.Terminate(t); code != 0 {
			t.Errorf("stalled after %d octets: exit code %d", after, code)
		}
		if got := files(t, dir); len(got) > 0 {
			t.Errorf("stalled after %d octets: files %q", after, got)
		}
	}
}
