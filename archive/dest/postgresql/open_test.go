package postgresql

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"owl/archive"
	"owl/archive/dest/internal/desttest"
)

func open(data string) (archive.Opened, error) { return desttest.Open(Open, data) }

func TestOpen(t *testing.T) {
	for data, want := range map[string]string{
		// What pScheduler says to these, it says, too.
		`{"_dsn": "dbname=d", "table": "ab", "column": "c", "schema": 1}`: "",
		`{"_dsn": "dbname=d", "table": "ab", "column": "c", "schema": 2}`: "/data/schema: 2: want",
		`{"_dsn": "dbname=d", "table": "ab"}`:                             "/data/column: is missing",
		`{"_dsn": "dbname=d", "column": "c"}`:                             "/data/table: is missing",
		`{"table": "ab", "column": "c"}`:                                  "/data/_dsn: is missing",
		`{"_dsn": "dbname=d", "table": "1a", "column": "c"}`:              `/data/table: "1a": want letters`,
		`{"_dsn": "dbname=d", "table": "a", "column": "c-d"}`:             `/data/column: "c-d": want letters`,
		`{"_dsn": "dbname=d", "table": "a", "column": ""}`:                `/data/column: "": want letters`,
		`{"_dsn": "dbname=d", "table": "a", "column": "c", "more": 1}`:    "/data/more: is unknown",
		// The reference's example.
		`{"_dsn": "dbname=measurement user=torgo password=mumble", "table": "measurements", "column": "json_from_ps", "connection-expires": "PT30S",
			"retry-policy": [{ "attempts": 5,  "wait": "PT5S" }]}`: "",
		// A DSN that is none it finds out when there is a result.
		`{"_dsn": "d", "table": "ab", "column": "c", "schema": 1}`:                      "/data/_dsn: want keyword=value pairs",
		`{"_dsn": "password='hunter2", "table": "ab", "column": "c"}`:                   "/data/_dsn: want keyword=value pairs",
		`{"_dsn": "postgres://me:hun%ter2@h/d?sslmode=x", "table": "a", "column": "c"}`: "/data/_dsn: want keyword=value pairs",
		`{"_dsn": "keepalives=1 password=hunter2", "table": "ab", "column": "c"}`:       "/data/_dsn: parameter keepalives is not supported",
		`{"_dsn": "@/dev/null", "table": "ab", "column": "c"}`:                          "/data/_dsn: want keyword=value pairs",
		`{"_dsn": "@/no/such/file", "table": "ab", "column": "c"}`:                      "/data/_dsn: open /no/such/file",
		// Our own.
		`{"_dsn": "dbname=d", "table": "a.b", "column": "c"}`:                    "",
		`{"_dsn": "dbname=d", "table": "\"A b\".\"c\"\"d\"", "column": "\"E\""}`: "",
		`{"_dsn": "dbname=d", "table": "a.b.c", "column": "c"}`:                  `/data/table: "a.b.c": want letters`,
		`{"_dsn": "dbname=d", "table": "a", "column": "b.c"}`:                    `/data/column: "b.c": want letters`,
		`{"_dsn": "dbname=d", "table": "a", "column": "c", "id-column": "id"}`:   "",
		`{"_dsn": "dbname=d", "table": "a", "column": "c", "id-column": "a; b"}`: `/data/id-column: "a; b": want letters`,
	} {
		_, err := open(data)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", data, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v: tells the password", data, err)
		}
	}
}

func TestInsert(t *testing.T) {
	for data, want := range map[string]string{
		`"table": "Ab", "column": "C$1"`:                          `INSERT INTO "ab" ("c$1") VALUES ($1)`,
		`"table": "s.Order", "column": "c", "id-column": "\"I\""`: `INSERT INTO "s"."order" ("c", "I") VALUES ($1, $2) ON CONFLICT ("I") DO NOTHING`,
	} {
		opened, err := open(`{"_dsn": "dbname=d", ` + data + `}`)
		if err != nil {
			t.Fatal(err)
		}
		d := opened.Destination.(*destination)
		if d.insert != want || d.pool.Life != time.Hour {
			t.Errorf("%s: %s, life %v, want %s, 1h", data, d.insert, d.pool.Life, want)
		}
	}
}

func TestName(t *testing.T) {
	long := strings.Repeat("x", maxName)
	for name, want := range map[string]string{
		"a": `"a"`, "_a$1": `"_a$1"`, "Ab.Cd": `"ab"."cd"`, `"Ab".cD`: `"Ab"."cd"`, `"a.b"`: `"a.b"`, `"a""b"`: `"a""b"`, `"é ;--"`: `"é ;--"`,
		long: `"` + long + `"`,
	} {
		if got, err := quoted(name, 2); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"", ".", "a.", ".a", "a..b", "a.b.c", "a b", `"a`, `a"`, `""`, `"a"b`, `"a\u0000"` + "\x00", "1a", "é", long + "x", `"` + long + `é"`} {
		if got, err := quoted(name, 2); err == nil {
			t.Errorf("%q: %s, want an error", name, got)
		}
	}
}

// FuzzName finds out that a name is never anything else in SQL.
func FuzzName(f *testing.F) {
	for _, name := range []string{"a", "Ab.Cd", `"A""b".c`, `"`, `a";--`} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		sql, err := quoted(name, 2)
		if err != nil {
			return
		}
		if again, err := quoted(sql, 2); again != sql || err != nil {
			t.Errorf("%q: %s, and of that %s, %v", name, sql, again, err)
		}
		rest := sql
		for parts := 1; ; parts++ {
			inside, isQuoted := strings.CutPrefix(rest, `"`)
			if !isQuoted || parts > 2 {
				t.Fatalf("%q: %s", name, sql)
			}
			end := 0
			for ; end < len(inside) && (inside[end] != '"' || strings.HasPrefix(inside[end:], `""`)); end++ {
				if inside[end] == '"' {
					end++
				}
			}
			if end == len(inside) {
				t.Fatalf("%q: %s has no end", name, sql)
			}
			if rest = inside[end+1:]; rest == "" {
				return
			}
			rest = strings.TrimPrefix(rest, ".")
		}
	})
}

func TestDSN(t *testing.T) {
	for _, name := range []string{"PGAPPNAME", "PGHOST", "PGUSER"} {
		t.Setenv(name, "")
	}
	path := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(path, []byte("\nhost=file user=u\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for dsn, want := range map[string][]string{
		"host=h user=u":                                                       {"h", "owl"},
		"host=h user=u application_name=mine":                                 {"h", "mine"},
		"host=h user=u fallback_application_name=other":                       {"h", "other"},
		"host=h user=u application_name=mine fallback_application_name=other": {"h", "mine"},
		"postgresql://u@h2/d?application_name=mine":                           {"h2", "mine"},
		"@" + path: {"file", "owl"},
	} {
		c, err := configure(dsn)
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		if c.Host != want[0] || c.RuntimeParams["application_name"] != want[1] || c.RuntimeParams["client_encoding"] != "UTF8" || len(c.RuntimeParams) != 2 {
			t.Errorf("%s: %s, %v, want %v", dsn, c.Host, c.RuntimeParams, want)
		}
	}
}
