package control_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"

	"github.com/google/go-cmp/cmp"
)

// dialReference is a client of the server at addr.
func dialReference(t *testing.T, addr string) *control.Client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.Connect(t.Context(), conn, control.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// wantFetched fetches the session of the .owp file path whole.
func wantFetched(t *testing.T, c *control.Client, path string) *kept {
	t.Helper()
	want := keptFile(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got, err := fetch(ctx, c, want.head.Spec.SID, 0, math.MaxUint32)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if diff := cmp.Diff(want, got, compareKept); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
	return got
}

// fetchedFiles are the .owp files that the reference's client stored.
func fetchedFiles(t *testing.T) []string {
	t.Helper()
	paths, err := fs.Glob(os.DirFS("../owp/testdata"), "*/c2s.owp")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%v, %v; want 10 or more", paths, err)
	}
	for i := range paths {
		paths[i] = filepath.Join("../owp/testdata", paths[i])
	}
	return paths
}

// After a test of the reference's client with the reference's server, what we
// fetch from the server is what that client has fetched; and a range of it, and
// what there is no more to fetch.
func TestInteropFetchAfterTest(t *testing.T) {
	dir := t.TempDir()
	addr := startReference(t, dir)
	saved := filepath.Join(dir, "saved.owp")
	if out, err := exec.CommandContext(t.Context(), reference(t, "owping"), "-A", "O", "-c", "53", "-i", "0.01", "-L", "0.3", "-t", "-T", saved, addr).CombinedOutput(); err != nil {
		t.Fatalf("owping: %v\n%s", err, out)
	}
	c := dialReference(t, addr)
	got := wantFetched(t, c, saved)
	octets, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	if again := stored(t, got); !bytes.Equal(again, octets) {
		t.Errorf("stored as\n%x, want\n%x", again, octets)
	}
	if got.head.Spec.Packets != 53 || got.head.NextSeq != 53 || got.head.Finished != uint8(owp.Normal) {
		t.Errorf("fetched %+v, want a whole session of 53 packets", got.head)
	}

	ranged, err := fetch(t.Context(), c, got.head.Spec.SID, 10, 26)
	if err != nil {
		t.Fatal(err)
	}
	var want []owamp.Record
	for _, r := range got.recs {
		if r.Seq >= 10 && r.Seq <= 26 {
			want = append(want, r)
		}
	}
	if !slices.Equal(want, ranged.recs) {
		t.Errorf("packets 10 to 26: %v, want %v", ranged.recs, want)
	}
	if none, err := fetch(t.Context(), c, got.head.Spec.SID, 53, 99); err != nil || none.head.Records != 0 {
		t.Errorf("packets 53 to 99: %v, %v; want no record and no error", none, err)
	}
	_, err = fetch(t.Context(), c, owamp.SID{1}, 0, math.MaxUint32)
	if denied, ok := errors.AsType[*control.DeniedError](err); !ok || denied.Accept != owamp.AcceptReject {
		t.Errorf("no such session: %v, want to be refused", err)
	}
	wantFetched(t, c, saved) // the connection goes on
}

// The reference's server gives what it keeps, skip ranges and all.
func TestInteropFetchKept(t *testing.T) {
	dir := t.TempDir()
	addr := startReference(t, dir)
	c := dialReference(t, addr)
	hierarchy := filepath.Join(dir, "hierarchy", "default") // which tells the server the limits of a session
	if err := os.MkdirAll(hierarchy, 0o700); err != nil {
		t.Fatal(err)
	}
	paths := append(fetchedFiles(t), filepath.Join(dir, "many.owp"))
	many := randomKept(3, 700, 1301, 5003)
	if err := os.WriteFile(paths[len(paths)-1], stored(t, many), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		octets, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := keptFile(t, path).head.Spec.SID.String() + ".owp"
		file := filepath.Join(hierarchy, name)
		if err := os.WriteFile(file, octets, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(file, filepath.Join(dir, "catalog", name)); err != nil {
			t.Fatal(err)
		}
		if again := stored(t, wantFetched(t, c, path)); !bytes.Equal(again, octets) {
			t.Errorf("%s: stored as other octets", path)
		}
	}
}

// Part of a session is fetched from the reference's server while it runs.
func TestInteropFetchRunning(t *testing.T) {
	dir := t.TempDir()
	addr := startReference(t, dir)
	saved := filepath.Join(dir, "saved.owp")
	owping := exec.CommandContext(t.Context(), reference(t, "owping"), "-A", "O", "-c", "300", "-i", "0.01f", "-L", "0.2", "-t", "-T", saved, addr)
	var out bytes.Buffer
	owping.Stdout, owping.Stderr = &out, &out
	if err := owping.Start(); err != nil {
		t.Fatal(err)
	}
	var sid owamp.SID
	for sid == (owamp.SID{}) {
		entries, err := os.ReadDir(filepath.Join(dir, "catalog"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name, _, _ := strings.Cut(e.Name(), ".")
			if id, err := owamp.ParseSID(name); err == nil {
				sid = id
			}
		}
		if sid == (owamp.SID{}) {
			select {
			case <-t.Context().Done():
				t.Fatal("no session")
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	c := dialReference(t, addr)
	var early *kept
	for early == nil || early.head.Records == 0 { // until something is recorded
		var err error
		early, err = fetch(t.Context(), c, sid, 0, 99)
		// A file that has no header yet is an internal error of the server's.
		if denied, ok := errors.AsType[*control.DeniedError](err); ok && denied.Accept == owamp.AcceptInternalError {
			early = nil
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("in the middle: finished %d, next sequence number %d, %d records", early.head.Finished, early.head.NextSeq, early.head.Records)
	if err := owping.Wait(); err != nil {
		t.Fatalf("owping: %v\n%s", err, out.Bytes())
	}
	whole := wantFetched(t, c, saved)
	if n := len(early.recs); n > len(whole.recs) || !slices.Equal(whole.recs[:n], early.recs) {
		t.Errorf("the first %d records fetched were not those at the end", n)
	}
}

// The reference's client fetches from us what it has fetched before, octet for
// octet, and says that it is refused what we have not.
func TestInteropFetchClient(t *testing.T) {
	program := reference(t, "owfetch")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	many := filepath.Join(dir, "many.owp")
	if err := os.WriteFile(many, stored(t, randomKept(3, 700, 1301, 5003)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range append(fetchedFiles(t), many, "") {
		k := randomKept(1, 1, 0, 0)
		if path != "" {
			k = keptFile(t, path)
		}
		h := newFetcher(func(request owamp.FetchSession) control.FetchAnswer {
			if path == "" {
				return control.FetchAnswer{Accept: owamp.AcceptReject}
			}
			return k.answer(request)
		})
		ended := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			ended <- control.Serve(t.Context(), conn, openMode(), h)
		}()
		saved := filepath.Join(dir, "saved.owp")
		out, err := exec.CommandContext(t.Context(), program, "-Q", "-A", "O", l.Addr().String(), k.head.Spec.SID.String(), saved).CombinedOutput()
		if err != nil {
			t.Errorf("%s: owfetch: %v\n%s", path, err, out)
		}
		if err := <-ended; err != nil {
			t.Errorf("%s: Serve: %v", path, err)
		}
		if path == "" {
			if !bytes.Contains(out, []byte("Server denied request")) {
				t.Errorf("refused: owfetch says %s", out)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(saved)
		if err != nil || !bytes.Equal(want, got) {
			t.Errorf("%s: saved as other octets: %v\n%s", path, err, out)
		}
	}
}

// A test of the reference's client with us, and the fetch that follows it on
// the same connection.
func TestInteropFetchSameConnection(t *testing.T) {
	program := reference(t, "owping")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	k := new(kept)
	h := newFetcher(func(request owamp.FetchSession) control.FetchAnswer { return k.answer(request) })
	h.answer = func(spec *owamp.SessionSpec) owamp.Accepted {
		k.head = control.Fetched{Spec: *spec, Finished: uint8(owp.Normal), NextSeq: spec.Packets}
		k.head.Spec.SID = owamp.SID{127, 0, 0, 1, 15: 1}
		addr := port.LocalAddr().(*net.UDPAddr).AddrPort()
		k.head.Spec.Receiver = addr
		for seq := range spec.Packets {
			at := spec.Start.Add(owamp.Interval(uint64(seq+1) * uint64(spec.Slots[0].Parameter)))
			k.recs = append(k.recs, owamp.Record{Seq: seq, Sent: at, Recv: at.Add(1 << 22), SentErr: 1, RecvErr: 1, TTL: 255})
		}
		return owamp.Accepted{Port: addr.Port(), SID: k.head.Spec.SID}
	}
	ended := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			ended <- err
			return
		}
		ended <- control.Serve(t.Context(), conn, openMode(), h)
	}()
	saved := filepath.Join(t.TempDir(), "saved.owp")
	out, err := exec.CommandContext(t.Context(), program, "-A", "O", "-c", "37", "-i", "0.01f", "-L", "0.2", "-t", "-T", saved, l.Addr().String()).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("37 sent, 0 lost")) {
		t.Errorf("owping: %v\n%s", err, out)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	k.head.Records = uint32(len(k.recs))
	if diff := cmp.Diff(k, keptFile(t, saved), compareKept); diff != "" {
		t.Errorf("saved (-want +got):\n%s", diff)
	}
}
