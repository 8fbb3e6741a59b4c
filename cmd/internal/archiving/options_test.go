package archiving_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
	"owl/cmd/internal/archiving"
	"owl/internal/getopt"
	"owl/sessions"
)

// options reads a command line.
func options(t *testing.T, args ...string) (*archiving.Options, error) {
	t.Helper()
	opts, rest, err := getopt.Parse(args, "", slices.Concat(archiving.Long, archiving.LongEach))
	if err != nil || len(rest) > 0 {
		t.Fatalf("%q, %v", rest, err)
	}
	o := new(archiving.Options)
	for _, opt := range opts {
		if ok, err := o.Set(opt.Name, opt.Value); err != nil || !ok {
			return nil, err
		}
	}
	return o, nil
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func archivers(specs []*archive.Spec) (names []string) {
	for _, s := range specs {
		names = append(names, s.Name())
	}
	return names
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "spec"), "\n {\"archiver\": \"syslog\", \"data\": {}, \"# why\": 1}\n")
	o, err := options(t,
		"--archive", `{"archiver": "bitbucket", "data": {}, "schema": 3, "label": "nowhere"}`,
		"--archive", "@"+file,
		"--archive", `[{"archiver": "failer", "data": {}}, {"archiver": "tcp", "data": {"host": "192.0.2.1", "port": 9}}]`,
		"--archive-each", "subsession", "--default-archives", "/a", "--default-archives", "/b", "--queue", "q.db")
	if err != nil {
		t.Fatal(err)
	}
	specs, err := o.Specs()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"nowhere", "syslog", "failer", "tcp"}, archivers(specs)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/a", "/b"}, o.Defaults); diff != "" || o.Each != sessions.EachPart || o.Queue != "q.db" || !o.Wanted() {
		t.Errorf("%+v", o)
	}
	if new(archiving.Options).Wanted() {
		t.Error("archives are wanted that nobody has named")
	}
}

// What is wrong is told with the option or the file, and the path in the JSON.
func TestOptionsRefused(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "spec"), `[{"archiver": "bitbucket", "data": {}}, {"archiver": "http", "data": {"_url": 7, "opp": 1}}]`)
	for _, test := range []struct{ arg, want string }{
		{"--archive={", "option --archive: "},
		{"--archive=[]x", "option --archive: "},
		{`--archive={"archiver": "post", "data": {}}`, `option --archive: /archiver: "post": want one of bitbucket, `},
		{`--archive={"archivr": "http", "data": {}}`, `option --archive: /archivr: `},
		{`--archive={"archiver": "http", "data": {"op": "get"}}`, `option --archive: /data/op: "get": want `},
		{"--archive=@" + file, "option --archive: " + file + ": /1: /data/opp: "},
		{"--archive=@/nowhere/x", "option --archive: open /nowhere/x: no such file or directory"},
		{"--archive-each=packet", `option --archive-each: "packet": want session or subsession`},
		{"--queue=", "option --queue: want the name of a file"},
		{"--default-archives=", "option --default-archives: want the name of a directory"},
	} {
		o, err := options(t, test.arg)
		if err == nil {
			_, err = o.Specs()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v\nwant %s", test.arg, err, test.want)
		}
	}
}

// Specifications that are read can be used; of what is wrong each line says where.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`{"archiver": "bitbucket", "data": {}}`, `[{"archiver": "tcp", "data": {"host": "h", "port": 1}}, {"archiver": "http"}]`,
		`{"one": {"archiver": "syslog", "data": null}}`, `[]`, `7`, `\@`, `{"archiver": "http", "data": {"_url": "http://h", "op": 1}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, "@") {
			return // some file of this host
		}
		specs, err := archive.ParseSpecs([]byte(text))
		for _, s := range specs {
			if s.Archiver == "exec" || strings.Contains(string(s.Data), "@") {
				return // some program of this host, or some file
			}
		}
		read, failed := archiving.Read(text)
		switch {
		case err != nil && failed == nil && !strings.HasPrefix(text, `\`):
			t.Errorf("%s: read in spite of %v", text, err)
		case failed == nil && err == nil && len(read) != len(specs):
			t.Errorf("%s: %d specifications, want %d", text, len(read), len(specs))
		case failed != nil && failed.Error() == "":
			t.Errorf("%s: an error without a word", text)
		}
	})
}
