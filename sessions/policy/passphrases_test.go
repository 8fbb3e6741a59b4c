package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pfstoreFile returns a file of the C suite's pfstore.
func pfstoreFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/pfstore/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parsePassphrases(t testing.TB, text string) *Passphrases {
	t.Helper()
	p, err := ParsePassphrases("pfs", strings.NewReader(text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return p
}

// written returns the file that p is.
func written(t testing.TB, p *Passphrases) string {
	t.Helper()
	var b strings.Builder
	n, err := p.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("wrote %d octets of %d: %v", n, b.Len(), err)
	}
	return b.String()
}

func TestPassphrasesOfReference(t *testing.T) {
	two := pfstoreFile(t, "two.pfs")
	p := parsePassphrases(t, two)
	for user, want := range map[string]string{"alice": "correct horse battery", "bob": "päss word #2 !"} {
		if got, ok := p.Get(user); !ok || string(got) != want || !p.Has(user) {
			t.Errorf("Get(%q) = %q, %v; want %q", user, got, ok, want)
		}
	}
	// Users are themselves, and not those whose names begin alike.
	for _, user := range []string{"", "al", "alice ", "alicex", "Alice", "bobby", "correct"} {
		if got, ok := p.Get(user); ok || got != nil || p.Has(user) {
			t.Errorf("Get(%q) = %q, %v; want nothing", user, got, ok)
		}
	}
	if p.Len() != 2 {
		t.Errorf("%d users, want 2", p.Len())
	}

	before := pfstoreFile(t, "commented-before.pfs")
	for _, name := range []string{"two.pfs", "commented-before.pfs", "commented-after-change-alice.pfs", "commented-after-del-bob.pfs"} {
		file := pfstoreFile(t, name)
		if d := cmp.Diff(file, written(t, parsePassphrases(t, file))); d != "" {
			t.Errorf("%s, read and written (-want +got):\n%s", name, d)
		}
	}
	for want, edit := range map[string]func(*Passphrases){
		"commented-after-change-alice.pfs": func(p *Passphrases) {
			if err := p.Set("alice", []byte("newpass")); err != nil {
				t.Error(err)
			}
		},
		"commented-after-del-bob.pfs": func(p *Passphrases) {
			if !p.Delete("bob") || p.Delete("bob") {
				t.Error("bob is not there once")
			}
		},
	} {
		p := parsePassphrases(t, before)
		edit(p)
		if d := cmp.Diff(pfstoreFile(t, want), written(t, p)); d != "" {
			t.Errorf("%s (-want +got):\n%s", want, d)
		}
	}

	p = parsePassphrases(t, "")
	for _, pair := range [][2]string{{"alice", "correct horse battery"}, {"bob", "päss word #2 !"}} {
		if err := p.Set(pair[0], []byte(pair[1])); err != nil {
			t.Error(err)
		}
	}
	if d := cmp.Diff(two, written(t, p)); d != "" {
		t.Errorf("two.pfs, from nothing (-want +got):\n%s", d)
	}
}

func TestPassphraseLines(t *testing.T) {
	long := strings.Repeat("n", 80)
	for _, tt := range []struct{ text, user, want string }{
		{"alice 6A6b", "alice", "jk"},
		{"alice\t \v6A6b \t\r\n", "alice", "jk"},
		{"# comment\n  # another\n\t\n\n-x 00\n", "-x", "\x00"},
		{"ål#ice 23", "ål#ice", "#"},
		{long + " 61", long, "a"},
		{"a " + strings.Repeat("61", MaxPassphrase), "a", strings.Repeat("a", MaxPassphrase)},
	} {
		p := parsePassphrases(t, tt.text)
		if got, ok := p.Get(tt.user); !ok || string(got) != tt.want || p.Len() != 1 {
			t.Errorf("%q: %d users, of %q %q", tt.text, p.Len(), tt.user, got)
		}
		if got := written(t, p); got != strings.TrimSuffix(tt.text, "\n")+"\n" {
			t.Errorf("%q becomes %q", tt.text, got)
		}
	}
}

// Each error says where and what, and shows nothing of the line that could be
// secret: which may be all of it.
func TestPassphraseErrors(t *testing.T) {
	wrong := errPassphraseLine.Error()
	for text, want := range map[string]string{
		"hunter2":                         "pfs:1: " + wrong,
		"\n#\nhunter hunter2 ":            "pfs:3: " + wrong,
		"hunter 6":                        "pfs:1: " + wrong,
		"hunter 6g":                       "pfs:1: " + wrong,
		"hunter \t":                       "pfs:1: " + wrong,
		"hunter 61 62":                    "pfs:1: " + wrong,
		"hunter 61 # mine":                "pfs:1: " + wrong,
		"hunter\x00 61":                   "pfs:1: " + wrong,
		"hunter\xff 61":                   "pfs:1: " + wrong,
		strings.Repeat("h", 81) + " 61":   "pfs:1: " + wrong,
		"h " + strings.Repeat("61", 1025): "pfs:1: " + wrong,
		" hunter 61":                      "pfs:1: want no blanks in front of an identity",
		"a 61\nb 61\nc 61\nb 62":          `pfs:4: identity "b": it is on line 2 already, want it once`,
		pfstoreFile(t, "badlead.pfs"):     "pfs:3: " + wrong,
		strings.Repeat("\n", 1<<17+1):     "pfs: more than 131072 lines: want a pass-phrase file",
		strings.Repeat("#", 16<<20+1):     "pfs: more than 16777216 octets: want a pass-phrase file",
	} {
		p, err := ParsePassphrases("pfs", strings.NewReader(text))
		if p != nil || err == nil || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
		if strings.Contains(fmt.Sprint(err), "hunter") {
			t.Errorf("%q: the error quotes it: %v", text, err)
		}
	}
	broken := errors.New("broken")
	if _, err := ParsePassphrases("pfs", io.MultiReader(strings.NewReader("a 61\n"), errReader{broken})); !errors.Is(err, broken) || err.Error() != "pfs: broken" {
		t.Errorf("a reader that fails: %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestSetPassphraseErrors(t *testing.T) {
	for _, tt := range []struct{ user, passphrase, want string }{
		{"", "a", `identity "": want a name`},
		{strings.Repeat("n", 81), "a", `identity "` + strings.Repeat("n", 80) + `": a name of 81 octets: want at most 80`},
		{"#x", "a", `identity "#x": want a name without # in front`},
		{"a b", "a", `identity "a b": want a name of printable characters in UTF-8, without blanks`},
		{"a\tb", "a", `identity "a\tb": want a name of printable characters in UTF-8, without blanks`},
		{"a\u00a0b", "a", `identity "a\u00a0b": want a name of printable characters in UTF-8, without blanks`},
		{"a\x1b", "a", `identity "a\x1b": want a name of printable characters in UTF-8, without blanks`},
		{"\xff", "a", `identity "\xff": want a name of printable characters in UTF-8, without blanks`},
		{"a", "", "a pass-phrase of 0 octets: want 1 to 1024"},
		{"a", strings.Repeat("p", 1025), "a pass-phrase of 1025 octets: want 1 to 1024"},
	} {
		p := parsePassphrases(t, "a 61\n")
		if err := p.Set(tt.user, []byte(tt.passphrase)); err == nil || err.Error() != tt.want {
			t.Errorf("Set(%q): %v, want %s", tt.user, err, tt.want)
		}
		if got := written(t, p); got != "a 61\n" {
			t.Errorf("Set(%q) failed, and left %q", tt.user, got)
		}
	}
	p := parsePassphrases(t, strings.Repeat("\n", maxPassphraseLines))
	if err := p.Set("a", []byte("a")); err == nil || p.Has("a") {
		t.Errorf("one line too many: %v", err)
	}
}

// Whatever is set and deleted, the file says what a map would.
func TestPassphrasesAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4656))
	p := parsePassphrases(t, "# head\n\nu0 30\n  # foot\n")
	want := map[string]string{"u0": "0"}
	for range 2000 {
		user := fmt.Sprint("u", r.IntN(20))
		if r.IntN(3) == 0 {
			_, was := want[user]
			delete(want, user)
			if p.Delete(user) != was {
				t.Fatalf("Delete(%q) does not say %v", user, was)
			}
		} else {
			want[user] = strings.Repeat(string(rune(r.IntN(0x250))), 1+r.IntN(9))
			secret := []byte(want[user])
			if err := p.Set(user, secret); err != nil {
				t.Fatal(err)
			}
			clear(secret) // is the caller's
		}
		for _, p := range []*Passphrases{p, parsePassphrases(t, written(t, p))} {
			got := make(map[string]string)
			for user := range p.users {
				if secret, ok := p.Get(user); ok {
					got[user] = string(secret)
				}
			}
			if d := cmp.Diff(want, got); d != "" || p.Len() != len(want) {
				t.Fatalf("%d users (-want +got):\n%s", p.Len(), d)
			}
		}
	}
	if text := written(t, p); !strings.HasPrefix(text, "# head\n\n") || !strings.Contains(text, "  # foot\n") {
		t.Errorf("comments are gone: %q", text)
	}
}

func TestLoadPassphrases(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pfs")
	if _, err := LoadPassphrases(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(path, []byte("alice 6a6b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, exposed := range map[os.FileMode]bool{
		0o600: false, 0o400: false, 0o640: false, 0o700: false,
		0o604: true, 0o644: true, 0o660: true, 0o602: true, 0o666: true, 0o620: true,
	} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		p, err := LoadPassphrases(path)
		if err != nil || !p.Has("alice") {
			t.Fatalf("mode %o: %v", mode, err)
		}
		err = p.Exposed()
		want := fmt.Sprintf("%s: mode %#o lets others read or change the pass-phrases, want 0600, or 0640 with a group of their own", path, mode)
		if exposed != (err != nil) || exposed && err.Error() != want {
			t.Errorf("mode %o: %v, want %v", mode, err, exposed)
		}
	}
	if err := os.WriteFile(path, []byte("\nalice 6a6"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPassphrases(path); err == nil || !strings.HasPrefix(err.Error(), path+":2: want ") {
		t.Errorf("half an octet: %v", err)
	}
	if _, err := LoadPassphrases(filepath.Dir(path)); err == nil {
		t.Error("a directory is read")
	}
}

// No way to print the store shows what is in it.
func TestPassphrasesAreNotPrinted(t *testing.T) {
	p := parsePassphrases(t, "alice 68756e746572\n") // "hunter"
	var b bytes.Buffer
	for _, v := range []any{p, *p, []*Passphrases{p}, []Passphrases{*p}, struct{ P *Passphrases }{p}, struct{ p *Passphrases }{p}, struct{ p Passphrases }{*p}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&b, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("json", "v", v)
		if err := json.NewEncoder(&b).Encode(v); err != nil {
			t.Error(err)
		}
	}
	for _, secret := range []string{"hunter", "68756e746572", "104 117 110", "0x68", "aHVudGVy"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("%q is in\n%s", secret, b.String())
		}
	}
	if got := fmt.Sprint(p); got != "1 pass-phrases" {
		t.Errorf("prints %q", got)
	}
}

// FuzzPassphrases: what can be read is written as it was, and what is written is
// read as the same users.
func FuzzPassphrases(f *testing.F) {
	for _, name := range []string{"two.pfs", "badlead.pfs", "commented-before.pfs"} {
		f.Add(pfstoreFile(f, name))
	}
	for _, s := range []string{"", "a", "a 6A \r\n", " a 00", "\n \n\t#\n", "a 61\na 61", "a\v61", "\xff 61"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePassphrases("pfs", strings.NewReader(text))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q: more than a line: %v", text, err)
			}
			return
		}
		again := written(t, p)
		if again != text && again != text+"\n" {
			t.Fatalf("%q becomes %q", text, again)
		}
		q := parsePassphrases(t, again)
		if d := cmp.Diff(p.users, q.users); d != "" {
			t.Errorf("%q, written and read (-want +got):\n%s", text, d)
		}
		for user := range p.users {
			secret, _ := p.Get(user)
			if got, _ := q.Get(user); !bytes.Equal(got, secret) {
				t.Errorf("%q, written and read: %q has another pass-phrase", text, user)
			}
			if err := q.Set(user, secret); err != nil {
				t.Errorf("%q: what is in a file cannot be set: %v", text, err)
			}
		}
	})
}
