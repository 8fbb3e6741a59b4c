package sessions_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
	"owl/sessions"
)

// holder is set where this test binary is to hold a directory, until its
// standard input ends.
const holder = "OWL_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holder); path != "" {
		d, err := sessions.OpenDirectory(path)
		if err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString("held\n")
		io.Copy(io.Discard, os.Stdin)
		d.Close()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hold has another process open the directory at path.
func hold(t *testing.T, path string) (pid int, release func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), holder+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 5)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != "held\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd.Process.Pid, func() {
		in.Close()
		cmd.Wait()
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	pid, release := hold(t, dir)
	_, err := sessions.OpenDirectory(dir)
	locked, ok := errors.AsType[*sessions.LockedError](err)
	if !ok || locked.PID != pid || locked.File != filepath.Join(dir, ".powlock") {
		t.Errorf("got %v, want it locked by process %d", err, pid)
	}
	if want := "Unable to lock file " + dir + "/.powlock: resource temporarily unavailable"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	release()

	d, err := sessions.OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	octets, err := os.ReadFile(filepath.Join(dir, ".powlock"))
	if err != nil || len(octets) != 4 || binary.NativeEndian.Uint32(octets) != uint32(os.Getpid()) {
		t.Errorf("lock file holds % x, %v", octets, err)
	}
}

// A lock file that does not tell who holds it is no reason to name anybody.
func TestLockedByUnknown(t *testing.T) {
	dir := t.TempDir()
	_, release := hold(t, dir)
	defer release()
	if err := os.Truncate(filepath.Join(dir, ".powlock"), 2); err != nil {
		t.Fatal(err)
	}
	_, err := sessions.OpenDirectory(dir)
	if locked, ok := errors.AsType[*sessions.LockedError](err); !ok || locked.PID != 0 {
		t.Errorf("got %v", err)
	}
}

func TestNoDirectory(t *testing.T) {
	_, err := sessions.OpenDirectory(filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestFileName(t *testing.T) {
	got := sessions.FileName(0x83aa7e8000000000, 1, ".owp")
	if want := "09487534653230284800_00000000000000000001.owp"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// opened returns the directory of the test, opened.
func opened(t *testing.T) (*sessions.Directory, string) {
	t.Helper()
	path := t.TempDir()
	d, err := sessions.OpenDirectory(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

// files returns the names in the directory, but for the lock file.
func files(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		if e.Name() != ".powlock" {
			names = append(names, e.Name())
		}
	}
	return names
}

// A file has its final name when it is whole, and keeps it.
func TestCommit(t *testing.T) {
	d, path := opened(t)
	begin := func(text string) *os.File {
		t.Helper()
		f, err := d.Begin(owamp.SID{1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := begin("first")
	if got := files(t, path); len(got) != 1 || !strings.HasPrefix(got[0], ".") || strings.HasSuffix(got[0], ".owp") {
		t.Errorf("in progress: %v", got)
	}
	if _, err := d.Begin(owamp.SID{1}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the same session again: %v", err)
	}
	final, err := d.Commit(f, 1, 2)
	if err != nil || final != filepath.Join(path, sessions.FileName(1, 2, ".owp")) {
		t.Errorf("committed as %s, %v", final, err)
	}
	if _, err := d.Commit(begin("second"), 1, 2); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := d.Discard(begin("third")); err != nil {
		t.Error(err)
	}
	if got, want := files(t, path), []string{filepath.Base(final)}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	if text, _ := os.ReadFile(final); string(text) != "first" {
		t.Errorf("the file holds %q", text)
	}
}

func TestWriteSummary(t *testing.T) {
	d, path := opened(t)
	final, err := d.WriteSummary([]byte("text\n"), 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteSummary([]byte("other\n"), 3, 4); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	if text, _ := os.ReadFile(final); string(text) != "text\n" {
		t.Errorf("the summary is %q", text)
	}
	if got, want := files(t, path), []string{sessions.FileName(3, 4, ".sum")}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

// A directory that went away is one clear error, whatever is done in it.
func TestDirectoryGone(t *testing.T) {
	d, path := opened(t)
	f, err := d.Begin(owamp.SID{1})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	_, commit := d.Commit(f, 1, 2)
	_, begin := d.Begin(owamp.SID{2})
	_, sum := d.WriteSummary(nil, 1, 2)
	for _, err := range []error{commit, begin, sum, d.Recover(slog.New(slog.DiscardHandler))} {
		if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v", err)
		}
	}
}

// recording makes a file in progress as a killed process leaves it: records of
// the packets seqs, and then octets that are not whole.
func recording(t *testing.T, d *sessions.Directory, sid byte, seqs []uint32, rest string) (*owamp.SessionSpec, *os.File) {
	t.Helper()
	spec := &owamp.SessionSpec{
		ConfSender: true,
		Slots:      []owamp.Slot{{Type: owamp.SlotExponential, Parameter: 1 << 29}},
		Packets:    100,
		SID:        owamp.SID{sid},
		Sender:     netip.MustParseAddrPort("192.0.2.2:9000"),
		Receiver:   netip.MustParseAddrPort("192.0.2.1:9001"),
		Start:      owamp.FromTime(time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)),
		Timeout:    1 << 32,
	}
	f, err := d.Begin(spec.SID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w, err := owp.Create(f, spec)
	if err != nil {
		t.Fatal(err)
	}
	precise := owamp.NewErrorEstimate(time.Microsecond, true)
	for _, seq := range seqs {
		at := scheduled(t, *spec, seq)
		if err := w.Write(owamp.Record{Seq: seq, Sent: at, Recv: at + 1, SentErr: precise, RecvErr: precise}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(rest); err != nil {
		t.Fatal(err)
	}
	return spec, f
}

// scheduled returns when packet seq of a session is due.
func scheduled(t *testing.T, spec owamp.SessionSpec, seq uint32) owamp.Timestamp {
	t.Helper()
	spec.Packets = seq + 1
	at, err := schedule.End(&spec)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// recover recovers the directory and returns what was logged.
func recovered(t *testing.T, d *sessions.Directory) string {
	t.Helper()
	var log bytes.Buffer
	if err := d.Recover(slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	return log.String()
}

// What a killed process had recorded becomes the file of an incomplete session
// that ends with its last record.
func TestRecover(t *testing.T) {
	for _, rest := range []string{"", "half a record"} {
		d, path := opened(t)
		spec, _ := recording(t, d, 1, []uint32{0, 1, 3, 2}, rest)
		log := recovered(t, d)
		name := sessions.FileName(spec.Start, scheduled(t, *spec, 3), ".owp")
		if got := files(t, path); !slices.Equal(got, []string{name}) {
			t.Fatalf("files %v, want %s", got, name)
		}
		if strings.Count(log, "\n") != 1 || !strings.Contains(log, name) {
			t.Errorf("logged %q", log)
		}
		f, err := os.Open(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, _ := f.Stat()
		r, err := owp.NewReader(f, info.Size())
		if err != nil {
			t.Fatal(err)
		}
		if h := r.Header(); r.Len() != 4 || h.Finished != owp.Incomplete || h.Spec.SID != spec.SID {
			t.Errorf("%d records, finished %v", r.Len(), h.Finished)
		}
		if log := recovered(t, d); log != "" {
			t.Errorf("a second time: %s", log)
		}
	}
}

// What holds nothing goes; what is not ours stays.
func TestRecoverRest(t *testing.T) {
	d, path := opened(t)
	recording(t, d, 1, nil, "")
	recording(t, d, 2, nil, "x")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(".owl-empty.owp.i", "")
	put(".owl-garbage.owp.i", "this is no session file at all")
	put(".owl-1_2.sum.i", "half a summary")
	put(".owl-other", "")
	put("other.owp.i", "")
	if err := os.Mkdir(filepath.Join(path, ".owl-dir.owp.i"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(path, ".owl-link.owp.i")); err != nil {
		t.Fatal(err)
	}
	log := recovered(t, d)
	if got, want := files(t, path), []string{".owl-dir.owp.i", ".owl-link.owp.i", ".owl-other", "other.owp.i"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	if strings.Count(log, "\n") != 1 || !strings.Contains(log, ".owl-garbage.owp.i") {
		t.Errorf("logged %q, want a line about garbage", log)
	}
}

// A process that is killed just when a file has got its name leaves it.
func TestRecoverNamed(t *testing.T) {
	d, path := opened(t)
	spec, f := recording(t, d, 1, []uint32{0, 1}, "")
	name := sessions.FileName(spec.Start, scheduled(t, *spec, 1), ".owp")
	if err := os.Link(f.Name(), filepath.Join(path, name)); err != nil {
		t.Fatal(err)
	}
	if log := recovered(t, d); log != "" {
		t.Errorf("logged %s", log)
	}
	if got := files(t, path); !slices.Equal(got, []string{name}) {
		t.Errorf("files %v, want %s", got, name)
	}
}
