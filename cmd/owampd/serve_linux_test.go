package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
	"owl/owamp"
	"owl/owamp/control"
)

// A daemonProcess is an owampd that listens.
type daemonProcess struct {
	*testprog.Process
	addr netip.AddrPort
	dir  string // its conf, data and var directory
}

// launch starts an owampd. Root may run it here.
func launch(t *testing.T, addr string, args ...string) *daemonProcess {
	t.Helper()
	return launchIn(t, t.TempDir(), append([]string{"-f", "-S", addr}, args...)...)
}

func launchIn(t *testing.T, dir string, args ...string) *daemonProcess {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, confName), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("owampd", append([]string{"-Z", "-c", dir, "-d", filepath.Join(dir, "data"), "-R", dir}, args...)...)
	d := &daemonProcess{Process: testprog.Start(t, cmd), dir: dir}
	line := regexp.MustCompile(`listening on (\S+)\n`)
	text := d.Await(t, d.Stderr, "listening", line.MatchString)
	d.addr = netip.MustParseAddrPort(line.FindStringSubmatch(text)[1])
	return d
}

// at returns the daemon's port at an address of this host.
func (d *daemonProcess) at(host string) string {
	return netip.AddrPortFrom(netip.MustParseAddr(host), d.addr.Port()).String()
}

// connect sets up a control connection.
func connect(t *testing.T, addr string) *control.Client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.Connect(t.Context(), conn, control.ClientConfig{Modes: owamp.ModeOpen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// said returns what owampd has said, but for the line about the clock, and
// without the program's name.
func (d *daemonProcess) said() []string {
	var lines []string
	tag := regexp.MustCompile(fmt.Sprintf(`^owampd\[%d\]: `, d.Cmd.Process.Pid))
	for _, l := range d.Stderr.Lines() {
		if l = tag.ReplaceAllString(l, ""); !strings.HasPrefix(l, "NTP: Status UNSYNC") {
			lines = append(lines, l)
		}
	}
	return lines
}

// TestServe: an owampd says where it listens and which process it is, tells
// clients the start that it tells its host, and ends cleanly at the signals that
// end the reference, also while a client is connected.
func TestServe(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			d := launch(t, "127.0.0.1:0")
			client := connect(t, d.addr.String())
			idle, err := net.Dial("tcp", d.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer idle.Close()

			pid := d.Cmd.Process.Pid
			checkText(t, filepath.Join(d.dir, pidName), fmt.Sprintf("%d\n", pid))
			checkText(t, filepath.Join(d.dir, infoName), fmt.Sprintf("START=%020d\nPID=%d\n", uint64(client.ServerStart()), pid))
			for _, sub := range []string{"catalog", "hierarchy"} {
				if info, err := os.Stat(filepath.Join(d.dir, "data", sub)); err != nil || !info.IsDir() {
					t.Errorf("data directory: %v", err)
				}
			}

			d.Signal(sig)
			if code := d.ExitCode(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			want := []string{"listening on " + d.addr.String(), "owampd: exiting...", "owampd: exited."}
			if diff := cmp.Diff(want, d.said()); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			if s := d.Stdout.String(); s != "" {
				t.Errorf("stdout: %q", s)
			}
		})
	}
}

func checkText(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s: %v, %q, want %q", path, err, got, want)
	}
}

// TestAddresses: a wildcard is both versions of IP, an address is that alone.
func TestAddresses(t *testing.T) {
	all := launch(t, ":0")
	connect(t, all.at("127.0.0.1"))
	connect(t, all.at("::1"))
	v6 := launch(t, "[::1]:0")
	connect(t, v6.at("::1"))
	if conn, err := net.Dial("tcp", v6.at("127.0.0.1")); err == nil {
		conn.Close()
		t.Error("owampd at ::1 answers at 127.0.0.1")
	}
	named := launch(t, "localhost:0")
	if !named.addr.Addr().IsLoopback() {
		t.Errorf("owampd at localhost listens on %v", named.addr)
	}
}

// TestRestart: the files of an owampd that was killed do not keep the next one
// from starting.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	first := launchIn(t, dir, "-f", "-S", "127.0.0.1:0")
	first.Signal(syscall.SIGKILL)
	first.ExitCode(t)
	second := launchIn(t, dir, "-f", "-S", first.addr.String())
	checkText(t, filepath.Join(dir, pidName), fmt.Sprintf("%d\n", second.Cmd.Process.Pid))
	if code := second.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestVarDirTraps: what owampd leaves in vardir, as root, it writes through no link
// that the owner of the directory has laid there.
func TestVarDirTraps(t *testing.T) {
	for name, trap := range map[string]func(target, name string) error{
		"symbolic link": os.Symlink,
		"hard link":     os.Link,
		"pipe":          func(_, name string) error { return syscall.Mkfifo(name, 0o644) },
	} {
		dir := t.TempDir()
		target := filepath.Join(dir, "precious")
		if err := os.WriteFile(target, []byte("precious"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := trap(target, filepath.Join(dir, pidName)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("owampd", "-Z", "-f", "-S", "127.0.0.1:0", "-d", "data")
		cmd.Dir = dir
		p := testprog.Start(t, cmd)
		if code := p.ExitCode(t); code != 1 || !strings.HasSuffix(p.Stderr.String(), ": want a file of its own\n") || len(p.Stderr.Lines()) != 1 {
			t.Errorf("%s: exit code %d, stderr %q", name, code, p.Stderr)
		}
		checkText(t, target, "precious")
	}

	dir := t.TempDir()
	target := filepath.Join(dir, "precious")
	if err := os.WriteFile(target, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{infoName, infoName + ".i"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	d := launchIn(t, dir, "-f", "-S", "127.0.0.1:0")
	checkText(t, target, "precious")
	if info, err := os.Lstat(filepath.Join(dir, infoName)); err != nil || info.Mode() != 0o644 {
		t.Errorf("%s: %v, %v; want a file that all can read", infoName, info, err)
	}
	d.Terminate(t)
}

// TestSharedDataDir: an owampd does not touch what another is about to record,
// whatever their vardir.
func TestSharedDataDir(t *testing.T) {
	first := launch(t, "127.0.0.1:0")
	data := filepath.Join(first.dir, "data")
	cmd := exec.Command("owampd", "-Z", "-f", "-S", "127.0.0.1:0", "-d", data, "-R", t.TempDir())
	cmd.Dir = t.TempDir()
	second := testprog.Start(t, cmd)
	if code := second.ExitCode(t); code != 1 || !strings.HasSuffix(second.Stderr.String(), ": data directory "+data+": in use by another server: want one of its own for each\n") {
		t.Errorf("exit code %d, stderr %q", code, second.Stderr)
	}
	first.Signal(syscall.SIGKILL)
	first.ExitCode(t)
	launchIn(t, first.dir, "-f", "-S", "127.0.0.1:0")
}

// TestHostilePeer: a client that breaks the protocol is told of in one line,
// which its words cannot break; the others are served.
func TestHostilePeer(t *testing.T) {
	d := launch(t, "127.0.0.1:0")
	for _, words := range []string{
		strings.Repeat("GET / HTTP/1.1\r\nHost: owampd[1]: all is well\r\n\r\n", 10),
		"\x00\x00\x00\x01" + strings.Repeat("\n", 160) + strings.Repeat("\x1b[2J\n", 100),
		"\x00\x00\x00\x07", // cut short
	} {
		conn, err := net.Dial("tcp", d.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, words); err != nil {
			t.Fatal(err)
		}
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
		conn.Close()
	}
	connect(t, d.addr.String()).Close()
	d.AwaitText(t, d.Stderr, "Connection ended: ", 3)
	d.Terminate(t)
	lines := d.said()
	if len(lines) != 6 {
		t.Errorf("stderr: %q, want one line a client", lines)
	}
	for _, l := range lines[1 : len(lines)-2] {
		if !strings.HasPrefix(l, "Connection ended: ") || !strings.Contains(l, " peer=127.0.0.1:") {
			t.Errorf("stderr: %q", l)
		}
		t.Log(l)
	}
}

// TestMetrics: an owampd that nobody has asked for anything shows itself, and a
// session as soon as it is there.
func TestMetrics(t *testing.T) {
	d := launch(t, "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	url := regexp.MustCompile(`metrics are at (\S+)\n`).FindStringSubmatch(d.Stderr.String())[1]
	if body := testprog.Scrape(t, url); !strings.Contains(body, "owl_build_info{") || !strings.Contains(body, "process_open_fds ") || strings.Contains(body, "owamp_packets_total{") {
		t.Errorf("metrics before any session:\n%s", body)
	}
	client := connect(t, d.addr.String())
	sink := stream(t, client, 1000)
	if _, _, err := sink.ReadFrom(make([]byte, 1500)); err != nil {
		t.Fatal(err)
	}
	labels := `destination="127.0.0.1",direction="from",source="127.0.0.1"`
	testprog.Until(t, "a running session among the metrics", func() error {
		body := testprog.Scrape(t, url)
		if !strings.Contains(body, "owamp_session_state{"+labels+`,state="running",stream=""} 1`) || !strings.Contains(body, "owamp_send_slip_seconds{"+labels) {
			return fmt.Errorf("not in\n%s", body)
		}
		return nil
	})
	if d.Terminate(t) != 0 {
		t.Error("owampd has not ended well")
	}
	if _, err := http.Get(url); err == nil {
		t.Error("metrics of an owampd that has ended")
	}
}

// stream has the server send packets, one each 10 ms, and returns where they
// arrive.
func stream(t *testing.T, client *control.Client, packets uint32) net.PacketConn {
	t.Helper()
	sink, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	if a := ask(t, client, sink, packets); a != owamp.AcceptOK {
		t.Fatalf("accept %d", a)
	}
	if err := client.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return sink
}

// ask asks the server to send packets, one each 10 ms, to sink.
func ask(t *testing.T, client *control.Client, sink net.PacketConn, packets uint32) owamp.Accept {
	t.Helper()
	local := netip.MustParseAddr("127.0.0.1")
	sid, err := owamp.NewSID(local, owamp.FromTime(time.Now()), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := client.Request(t.Context(), []owamp.SessionSpec{{
		ConfSender: true,
		Slots:      []owamp.Slot{{Type: owamp.SlotFixed, Parameter: owamp.IntervalOf(10 * time.Millisecond)}},
		Packets:    packets,
		SID:        sid,
		Sender:     netip.AddrPortFrom(local, 0),
		Receiver:   sink.LocalAddr().(*net.UDPAddr).AddrPort(),
		Start:      owamp.FromTime(time.Now()),
		Timeout:    owamp.IntervalOf(time.Second),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return answers[0].Accept
}
