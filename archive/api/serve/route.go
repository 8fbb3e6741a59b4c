package serve

import (
	"net/http"
	"strings"
)

// The routes by which requests are counted.
const (
	routeSearch   = "search"   // GET of the archive
	routeRegister = "register" // POST there
	routeMetadata = "metadata" // GET of a measurement
	routeWrite    = "write"    // points, one or many
	routeEvent    = "event"    // GET of what there is of an event type
	routeRead     = "read"     // GET of a series
	routePage     = "page"     // the page itself
	routeData     = "data"     // what it asks for
	routeLive     = "live"     // what it is told as it happens
	routeOther    = "other"
)

var routes = []string{
	routeSearch, routeRegister, routeMetadata, routeWrite, routeEvent, routeRead, routePage, routeData, routeLive, routeOther,
}

// archives are the paths of the REST interface's archive.
var archives = []string{"/esmond/perfsonar/archive/", "/perfsonar/archive/"}

// routeOf returns the route of a request.
func routeOf(method, path string) string {
	get := method == http.MethodGet || method == http.MethodHead
	for _, prefix := range archives {
		if rest, ok := strings.CutPrefix(path, prefix); ok && (get || method == http.MethodPost || method == http.MethodPut) {
			return archiveRoute(get, strings.TrimSuffix(rest, "/"))
		}
	}
	switch {
	case !get:
		return routeOther
	case path == "/api/live":
		return routeLive
	case strings.HasPrefix(path, "/api/"):
		return routeData
	case strings.HasPrefix(path, "/esmond"), strings.HasPrefix(path, "/perfsonar"),
		path == "/openapi.json", path == "/metrics", path == "/healthz", path == "/readyz":
		return routeOther
	}
	return routePage
}

// archiveRoute returns the route of a request for what is at a path below an
// archive.
func archiveRoute(get bool, path string) string {
	switch depth := strings.Count(path, "/"); {
	case path == "" && get:
		return routeSearch
	case path == "":
		return routeRegister
	case !get:
		return routeWrite
	case depth == 0:
		return routeMetadata
	case depth >= 3, strings.HasSuffix(path, "/base"):
		return routeRead
	}
	return routeEvent
}
