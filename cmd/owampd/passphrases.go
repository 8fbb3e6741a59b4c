package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"owl/owamp"
	"owl/sessions/policy"
)

// sealed are the modes that want pass-phrases.
const sealed = owamp.ModeAuthenticated | owamp.ModeEncrypted

// wanted returns the modes that are to be offered.
func (o *options) wanted() owamp.Mode {
	if o.modes == 0 {
		return sealed | owamp.ModeOpen
	}
	return o.modes
}

// offered returns those of them that are offered while the pass-phrases are these.
func (o *options) offered() owamp.Mode {
	if o.passphrases.Len() == 0 {
		return o.wanted() & owamp.ModeOpen
	}
	return o.wanted()
}

// readPassphrases reads the pass-phrase file; without one, and in open mode,
// which asks nobody, there are none. A file that this process may not read is no
// error yet: it may have been read while there were privileges.
func (o *options) readPassphrases() error {
	if o.wanted()&sealed == 0 {
		return nil
	}
	name := o.path(keysName)
	p, err := policy.LoadPassphrases(name)
	switch {
	case errors.Is(err, fs.ErrPermission):
		o.unreadable = err
		return nil
	case err == nil:
		o.passphrases, o.keysFile = p, name
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	switch exposed := o.passphrases.Exposed(); {
	case exposed == nil:
	case o.strict:
		return exposed
	default:
		o.remark(exposed.Error())
	}
	if o.passphrases.Len() > 0 || o.modes == 0 {
		return nil
	}
	if o.modes&owamp.ModeOpen == 0 {
		return fmt.Errorf("authmode %v: want users in %s: see pfstore", o.modes, name)
	}
	o.remark(fmt.Sprintf("authmode %v: only open mode (O) is offered until there are users in %s: see pfstore", o.modes, name))
	return nil
}

// checkUsers refuses limits of users who have no pass-phrase.
func (o *options) checkUsers() error {
	err := o.limits.CheckUsers(o.passphrases.Has)
	if err != nil && o.wanted()&sealed == 0 {
		o.remark(fmt.Sprintf("assign user has no effect: open mode has no users: %v", err))
		return nil
	}
	return err
}

// keepPassphrases takes over the pass-phrases of older options where they can
// no longer be read because the privileges are gone.
func (o *options) keepPassphrases(older *options) {
	if o.unreadable != nil {
		o.passphrases, o.keysFile = older.passphrases, older.keysFile
	}
}

// describePassphrases prints who may authenticate.
func (o *options) describePassphrases(w io.Writer) {
	switch {
	case o.wanted()&sealed == 0:
		fmt.Fprintf(w, "# %s is not read: open mode has no users\n", keysName)
	case o.unreadable != nil:
		fmt.Fprintf(w, "# %v\n", o.unreadable)
	case o.keysFile == "":
		fmt.Fprintf(w, "# %s: none, so only open mode is offered\n", keysName)
	case o.passphrases.Len() == 0:
		fmt.Fprintf(w, "# %s: %s: no users, so only open mode is offered\n", keysName, o.keysFile)
	default:
		fmt.Fprintf(w, "# %s: %s: %d users\n", keysName, o.keysFile, o.passphrases.Len())
	}
}
