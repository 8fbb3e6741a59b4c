package privilege_test

import (
	"os"
	"strings"
	"testing"

	"owl/internal/privilege"
)

// TestLookup: names and numbers of root, whom every host has.
func TestLookup(t *testing.T) {
	for _, name := range []string{"root", "-0"} {
		uid, gid, err := privilege.LookupUser(name)
		if uid != 0 || gid != 0 || err != nil {
			t.Errorf("user %s: %d, %d, %v, want 0 and 0", name, uid, gid, err)
		}
	}
	if gid, err := privilege.LookupGroup("-0"); gid != 0 || err != nil {
		t.Errorf("group -0: %d, %v, want 0", gid, err)
	}
	for _, name := range []string{"", "no such user", "-", "-x", "0"} {
		if _, _, err := privilege.LookupUser(name); err == nil || !strings.Contains(err.Error(), "want the name of a user") {
			t.Errorf("user %q: %v", name, err)
		}
		if _, err := privilege.LookupGroup(name); err == nil || !strings.Contains(err.Error(), "want the name of a group") {
			t.Errorf("group %q: %v", name, err)
		}
	}
}

// TestBecomeOneself: nothing is asked for that anybody could not have.
func TestBecomeOneself(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: root would give up its capabilities; the programs' tests do")
	}
	id := privilege.Identity{UID: os.Geteuid(), GID: os.Getegid()}
	if err := id.Become(privilege.Needs{}); err != nil {
		t.Error(err)
	}
}
