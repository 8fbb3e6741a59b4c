package agentfile_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/agentfile"
)

const measures = "streams: [{name: s, peer: 192.0.2.1}]\n"

// YAML becomes JSON of the same meaning; JSON and the names of files stay as they
// are.
func TestArchives(t *testing.T) {
	const file = measures + `
archives:
  - archiver: http
    "#": a comment
    data:
      schema: 3
      _url: https://192.0.2.9/
      verify-ssl: yes
      retry-policy: [{attempts: 5, wait: PT1M}, {attempts: 0x10, wait: PT1H}]
      _headers: {X-Day: 2026-11-21, X-None: null, X-Half: 0.5, X-Big: 18446744073709551615, X-True: true, X-Text: "true"}
  - "@~/archives/*.json"
  - '{"archiver": "syslog", "data": {}}'
archive_each: subsession
default_archives: [/etc/one, /etc/two]
queue: {path: /data/q.db, max_size: 2.5 GB, max_age: 7d, full: newest, keep: 12h}
`
	c, err := parse(file)
	if err != nil {
		t.Fatal(err)
	}
	want := agentfile.Archiving{
		Archives: []agentfile.Archive{
			{Line: 4, Text: `{"#":"a comment","archiver":"http","data":{"_headers":{"X-Big":18446744073709551615,"X-Day":"2026-11-21","X-Half":0.5,"X-None":null,"X-Text":"true","X-True":true},"_url":"https://192.0.2.9/","retry-policy":[{"attempts":5,"wait":"PT1M"},{"attempts":16,"wait":"PT1H"}],"schema":3,"verify-ssl":"yes"}}`},
			{Line: 12, Text: "@~/archives/*.json"},
			{Line: 13, Text: `{"archiver": "syslog", "data": {}}`},
		},
		Parts:    true,
		Defaults: []string{"/etc/one", "/etc/two"},
		Queue:    agentfile.Queue{Path: "/data/q.db", MaxSize: 2.5e9, MaxAge: 7 * 24 * time.Hour, Full: "newest", Keep: 12 * time.Hour},
	}
	if diff := cmp.Diff(want, c.Archiving); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// A template of pSConfig has an object of archives; a queue may be a file alone,
// and nobody needs to want the host's default archives.
func TestArchivesInShort(t *testing.T) {
	c, err := parse(measures + `
archives:
  one: {archiver: bitbucket, data: {}}
  two: {archiver: bitbucket, data: {}}
default_archives: []
queue: q.db
`)
	if err != nil {
		t.Fatal(err)
	}
	want := agentfile.Archiving{
		Archives: []agentfile.Archive{{Line: 4, Text: `{"one":{"archiver":"bitbucket","data":{}},"two":{"archiver":"bitbucket","data":{}}}`}},
		Defaults: []string{},
		Queue:    agentfile.Queue{Path: "q.db"},
	}
	if diff := cmp.Diff(want, c.Archiving); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestArchivesRefused(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"archives: 7", "archives: want a list, not \"7\""},
		{"archives: [[]]", "archives: want a specification, or @ and the name of its file, not a list"},
		{"archives: ['']", "archives: want a specification, not nothing"},
		{"archives: [~]", "archives: want a specification, or @ and the name of its file, not nothing"},
		{"archives: [{data: {a: 1, a: 2}}]", "archives: a: want it once, it is in line 2 already"},
		{"archives: [{data: .nan}]", "archives: json: unsupported value: NaN"},
		{"archives: [{data: &x 1}]", "&x: want no anchors"},
		{"archive_each: packet", "archive_each: \"packet\": want session or subsession"},
		{"default_archives: {}", "default_archives: want a list, not keys with values"},
		{"queue: []", "queue: want keys with values, not a list"},
		{"queue: {size: 1GB}", "queue: unknown key \"size\": want one of path, max_size, max_age, full, keep"},
		{"queue: {max_size: 1kB}", "max_size: \"1kB\": want a size from 1MB to 1000TB"},
		{"queue: {max_size: 1 pint}", "max_size: \"1 pint\": want a size from 1MB to 1000TB"},
		{"queue: {max_age: -1d}", "max_age: \"-1d\": want a time"},
		{"queue: {full: both}", "full: \"both\": want oldest or newest"},
	} {
		_, err := parse(measures + test.text)
		if err == nil || !strings.Contains(err.Error(), "f.yaml:2: "+test.want) {
			t.Errorf("%s: %v\nwant %s", test.text, err, test.want)
		}
	}
}
