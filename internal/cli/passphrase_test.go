package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"owl/owamp"
	"owl/owamp/control"
)

func TestReadPassphrase(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		in        io.Reader
		want, err string
		left      string
	}{
		{strings.NewReader("correct horse battery\nnext\n"), "correct horse battery", "", "next\n"},
		{strings.NewReader(" päss\x00 \r\n"), " päss\x00 ", "", "\n"},
		{strings.NewReader("no end"), "no end", "", ""},
		{iotest.DataErrReader(strings.NewReader("x")), "x", "", ""},
		{strings.NewReader(strings.Repeat("x", 1024) + "\n"), strings.Repeat("x", 1024), "", ""},
		{strings.NewReader(strings.Repeat("x", 1025) + "\n"), "", "more than 1024 octets", "\n"},
		{strings.NewReader("\nx\n"), "", "there is none", "x\n"},
		{strings.NewReader(""), "", "there is none", ""},
		{io.MultiReader(strings.NewReader("hunter2"), iotest.ErrReader(broken)), "", "broken", ""},
	} {
		var out bytes.Buffer
		got, err := ReadPassphrase(t.Context(), "al", tt.in, &out)
		if tt.err != "" {
			tt.err = `asking for the pass-phrase of "al": ` + tt.err
		}
		if string(got) != tt.want || errorText(err) != tt.err {
			t.Errorf("%q, %v; want %q, %s", got, err, tt.want, tt.err)
		}
		if left, err := io.ReadAll(tt.in); string(left) != tt.left && !errors.Is(err, broken) {
			t.Errorf("%q is left, want %q", left, tt.left)
		}
		if got, want := out.String(), "Enter passphrase for identity 'al': \n"; got != want {
			t.Errorf("asked with %q, want %q", got, want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Who waits for a pass-phrase can be ended.
func TestReadPassphraseEnds(t *testing.T) {
	in, typing := io.Pipe()
	defer typing.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	go func() {
		_, _ = io.WriteString(typing, "hunter")
		cancel(enough)
	}()
	got, err := ReadPassphrase(ctx, "al", in, io.Discard)
	if got != nil || !errors.Is(err, enough) || strings.Contains(err.Error(), "hunter") {
		t.Errorf("%q, %v; want %v", got, err, enough)
	}
}

// writeKeys writes a pass-phrase file of mode 0600, and returns its path.
func writeKeys(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pfs")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestClientConfig(t *testing.T) {
	const all = owamp.ModeOpen | owamp.ModeAuthenticated | owamp.ModeEncrypted
	keys := writeKeys(t, "# of tests\nal\t68756e74657231\nalice\t68756e74657232\n")
	for _, tt := range []struct {
		name string
		o    ClientOptions
		want control.ClientConfig
		pass string
		err  string
	}{
		{"nothing", ClientOptions{}, control.ClientConfig{Modes: owamp.ModeOpen}, "", ""},
		{"modes without a user", ClientOptions{Modes: all}, control.ClientConfig{Modes: owamp.ModeOpen}, "", ""},
		{"a user", ClientOptions{User: "alice", KeyFile: keys}, control.ClientConfig{Modes: all, User: "alice"}, "hunter2", ""},
		{"another, whose name begins it", ClientOptions{User: "al", KeyFile: keys}, control.ClientConfig{Modes: all, User: "al"}, "hunter1", ""},
		{"modes", ClientOptions{User: "alice", KeyFile: keys, Modes: owamp.ModeEncrypted, MaxCount: 5000}, control.ClientConfig{Modes: owamp.ModeEncrypted, User: "alice", MaxCount: 5000}, "hunter2", ""},
		{"open mode has no users", ClientOptions{User: "alice", KeyFile: "missing", Modes: owamp.ModeOpen}, control.ClientConfig{Modes: owamp.ModeOpen}, "", ""},
		{"not in the file", ClientOptions{User: "ali", KeyFile: keys}, control.ClientConfig{}, "", `Unable to find pass-phrase for id="ali" from pffile="` + keys + `"`},
		{"no file", ClientOptions{User: "alice", KeyFile: "missing"}, control.ClientConfig{}, "", "option -k: open missing: no such file or directory"},
		{"no such file", ClientOptions{User: "alice", KeyFile: writeKeys(t, "alice hunter2\n")}, control.ClientConfig{}, "", "option -k: "},
	} {
		got, err := tt.o.Config(t.Context(), slog.New(slog.DiscardHandler))
		if tt.err == "" && err != nil || !strings.HasPrefix(errorText(err), tt.err) || strings.Contains(errorText(err), "hunter") {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.err)
		}
		pass := ""
		if got.Passphrase != nil {
			b, err := got.Passphrase()
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			pass = string(b)
		}
		if got.Modes != tt.want.Modes || got.User != tt.want.User || got.MaxCount != tt.want.MaxCount || pass != tt.pass {
			t.Errorf("%s: %v, %q, %d, %q", tt.name, got.Modes, got.User, got.MaxCount, pass)
		}
	}
}

// That others can read the pass-phrase is said, and only if it is used.
func TestClientConfigWarns(t *testing.T) {
	keys := writeKeys(t, "alice\t68756e74657232\n")
	var log bytes.Buffer
	config := func(o ClientOptions) string {
		log.Reset()
		if _, err := o.Config(t.Context(), NewLogger(LogConfig{Program: "owup", Stderr: &log, NoPID: true})); err != nil {
			t.Error(err)
		}
		return log.String()
	}
	o := ClientOptions{User: "alice", KeyFile: keys}
	if got := config(o); got != "" {
		t.Errorf("mode 0600: %q", got)
	}
	if err := os.Chmod(keys, 0o644); err != nil {
		t.Fatal(err)
	}
	want := "owup: " + keys + ": mode 0644 lets others read or change the pass-phrases, want 0600, or 0640 with a group of their own\n"
	if got := config(o); got != want {
		t.Errorf("mode 0644: %q, want %q", got, want)
	}
	o.Modes = owamp.ModeOpen
	if got := config(o); got != "" {
		t.Errorf("mode 0644, not read: %q", got)
	}
}

func TestClientOptionsValidate(t *testing.T) {
	for _, tt := range []struct {
		o   ClientOptions
		err string
	}{
		{ClientOptions{}, ""},
		{ClientOptions{Modes: owamp.ModeOpen | owamp.ModeEncrypted}, ""},
		{ClientOptions{User: "u"}, ""},
		{ClientOptions{User: "u", KeyFile: "f", Modes: owamp.ModeEncrypted}, ""},
		{ClientOptions{KeyFile: "f"}, "option -k: want -u, too, for whose pass-phrase it is"},
		{ClientOptions{Modes: owamp.ModeAuthenticated | owamp.ModeEncrypted}, "option -A: AE: want -u, too, or open mode (O), which has no users"},
	} {
		if err := tt.o.Validate(); errorText(err) != tt.err {
			t.Errorf("%+v: %v, want %s", tt.o, err, tt.err)
		}
	}
	for _, opt := range [][2]string{
		{"u", ""},
		{"u", "a b"},
		{"u", strings.Repeat("u", 81)},
		{"k", ""},
		{"max-pbkdf2-count", "1023"},
		{"max-pbkdf2-count", "4294967296"},
		{"max-pbkdf2-count", "-1"},
		{"max-pbkdf2-count", ""},
	} {
		var o ClientOptions
		if ok, err := o.Set(opt[0], opt[1]); !ok || err == nil || !strings.HasPrefix(err.Error(), "option -") {
			t.Errorf("%q: %v, %v; want an error", opt, ok, err)
		}
	}
}
