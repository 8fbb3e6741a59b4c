package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// authenticate returns the name of the key of a secret; empty: of none.
func authenticate(t *testing.T, s *Store, secret string) string {
	t.Helper()
	name, ok, err := s.Authenticate(t.Context(), secret)
	if err != nil || ok != (name != "") {
		t.Fatalf("%q, %t, %v", name, ok, err)
	}
	return name
}

func testKeys(t *testing.T, address string) {
	s, clock := openAt(t, address)
	other, otherClock := openAt(t, address) // as another process
	secrets := make(map[string]string)
	for _, name := range []string{"b", "Größe 1"} {
		secret, err := s.AddKey(t.Context(), name)
		if err != nil || len(secret) != 40 || strings.Trim(secret, "0123456789abcdef") != "" {
			t.Fatalf("%s: %q, %v, want 40 hexadecimal digits", name, secret, err)
		}
		secrets[name] = secret
	}
	if secrets["b"] == secrets["Größe 1"] {
		t.Error("two keys have one secret")
	}
	for _, name := range []string{"", "a\nb", "a\xff", strings.Repeat("x", 65), "b"} {
		if _, err := s.AddKey(t.Context(), name); err == nil {
			t.Errorf("key %q is made", name)
		}
	}

	if got := authenticate(t, s, secrets["b"]); got != "b" {
		t.Errorf("the secret is of %q, want b", got)
	}
	for _, secret := range []string{"", strings.Repeat("0", 40), strings.ToUpper(secrets["b"]), secrets["b"][1:], "' OR 1=1 --"} {
		if got := authenticate(t, s, secret); got != "" {
			t.Errorf("secret %q is of %q", secret, got)
		}
	}
	const created = 1_700_000_000
	want := []Key{
		{Name: "Größe 1", Created: time.Unix(created, 0)},
		{Name: "b", Created: time.Unix(created, 0), Used: time.Unix(created/86400*86400, 0).UTC()},
	}
	keys, err := other.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) == 2 && keys[0].Name == "b" { // by the order that the database has of letters
		keys[0], keys[1] = keys[1], keys[0]
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(fmt.Sprint(keys), secrets["b"]) {
		t.Error("the list has the secret")
	}

	// A day later it is used again.
	clock.Add(86400)
	authenticate(t, s, secrets["b"])
	if keys, err = s.Keys(t.Context()); err != nil || !keys[0].Used.Equal(want[1].Used.AddDate(0, 0, 1)) && !keys[1].Used.Equal(want[1].Used.AddDate(0, 0, 1)) {
		t.Errorf("%v, %v, want a day later", keys, err)
	}

	// What is revoked is worth nothing here, and soon elsewhere.
	if got := authenticate(t, other, secrets["b"]); got != "b" {
		t.Errorf("the secret is of %q, want b", got)
	}
	if err := s.RevokeKey(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	if got := authenticate(t, s, secrets["b"]); got != "" {
		t.Errorf("the secret is of %q after it was revoked", got)
	}
	otherClock.Add(5)
	if got := authenticate(t, other, secrets["b"]); got != "" {
		t.Errorf("the secret is of %q after it was revoked elsewhere", got)
	}
	if got := authenticate(t, s, secrets["Größe 1"]); got != "Größe 1" {
		t.Errorf("the other secret is of %q", got)
	}
	if err := s.RevokeKey(t.Context(), "b"); err == nil || !strings.Contains(err.Error(), `no key "b"`) {
		t.Errorf("revoked twice: %v", err)
	}
	if secret, err := s.AddKey(t.Context(), "b"); err != nil || secret == secrets["b"] {
		t.Errorf("a new key of the name: %v", err)
	}
}
