package api

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A resource is what a URL can name.
type resource uint8

const (
	isNothing  resource = iota
	isRoot              // what there is: the archive
	isArchive           // all measurements
	isMetadata          // one of them
	isEvent             // an event type of it
	isData              // a series of that: base data or a summary; or the windows of a summary
	isOpenAPI           // this interface, described
)

// routeNames is what OPTIONS calls the resources.
var routeNames = [...]string{"none", "root", "archive", "metadata", "event", "data", "openapi"}

// methodsOf has what the resources take, in the order in which Allow has it.
var methodsOf = [...][]string{
	isNothing:  nil,
	isRoot:     {http.MethodGet, http.MethodHead, http.MethodOptions},
	isArchive:  {http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions},
	isMetadata: {http.MethodGet, http.MethodPut, http.MethodPost, http.MethodHead, http.MethodOptions},
	isEvent:    {http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions},
	isData:     {http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions},
	isOpenAPI:  {http.MethodGet, http.MethodHead, http.MethodOptions},
}

// A target is what a URL names. The last three are as they stand there, known or
// not.
type target struct {
	resource
	base    string // path of the archive by which it was asked for, slashes around it
	key     string
	event   string
	summary string
	window  string // "": there is none
}

// namePattern is the form of what stands between slashes.
var namePattern = regexp.MustCompile(`^[\w.-]{1,255}$`)

// find returns what a URL names. The archive and a measurement end in a slash,
// and who leaves it out is sent there; the others may have one.
func (h *handler) find(u *url.URL) (target, error) {
	if u.Path == "/openapi.json" {
		return target{resource: isOpenAPI}, nil
	}
	for _, prefix := range h.Prefixes {
		above := prefix[:strings.LastIndexByte(prefix[:len(prefix)-1], '/')+1]
		switch u.Path {
		case above:
			return target{resource: isRoot, base: prefix}, nil
		case prefix:
			return target{resource: isArchive, base: prefix}, nil
		case strings.TrimSuffix(above, "/"), strings.TrimSuffix(prefix, "/"):
			return target{}, moved(u)
		}
		if rest, ok := strings.CutPrefix(u.Path, prefix); ok {
			return below(prefix, rest, u)
		}
	}
	return target{}, errNotFound
}

// below returns what a path below an archive names.
func below(base, path string, u *url.URL) (target, error) {
	path, slashed := strings.CutSuffix(path, "/")
	names := strings.Split(path, "/")
	if len(names) > 4 {
		return target{}, errNotFound
	}
	for _, n := range names {
		if !namePattern.MatchString(n) {
			return target{}, errNotFound
		}
	}
	t := target{resource: isMetadata, base: base, key: names[0]}
	if len(names) == 1 && !slashed {
		return target{}, moved(u)
	}
	if len(names) > 1 {
		t.resource, t.event = isEvent, names[1]
	}
	if len(names) > 2 {
		t.resource, t.summary = isData, names[2]
	}
	if len(names) > 3 {
		t.window = names[3]
	}
	return t, nil
}

// moved sends a client to the same URL with a slash.
func moved(u *url.URL) error {
	to := *u
	to.Scheme, to.Host, to.User = "", "", nil
	to.Path, to.RawPath = to.Path+"/", ""
	return &refusal{status: http.StatusMovedPermanently, location: to.String()}
}

// takes reports whether the resource takes a method.
func (r resource) takes(method string) bool { return slices.Contains(methodsOf[r], method) }

// uri returns the path of a measurement.
func (t *target) uri(key string) string { return t.base + key + "/" }
