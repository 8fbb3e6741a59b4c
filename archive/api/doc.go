// Package api serves a measurement archive as esmond did, whose REST interface
// the clients of perfSONAR speak: metadata are registered and searched, points
// are written one by one or in bulk, and series of them and of their summaries
// are read.
//
//	PREFIX                          GET search, POST register
//	PREFIX KEY/                     GET one measurement, PUT or POST points in bulk
//	PREFIX KEY/EVENT                GET what there is of an event type
//	PREFIX KEY/EVENT/SUMMARY        GET base data or the windows of a summary, POST one point
//	PREFIX KEY/EVENT/SUMMARY/WINDOW GET a summary
//	/openapi.json                   this interface, as OpenAPI 3.1 describes it
//
// PREFIX is /esmond/perfsonar/archive/ or /perfsonar/archive/, and answers have
// the one by which they were asked for. All resources take HEAD and OPTIONS.
//
// There are two generations of clients. Who writes with
//
//	Authorization: Token KEY
//
// or with no key from a network that may write is answered as by the last esmond:
// 201, and "" as JSON where there is nothing to say. Who writes with
//
//	Authorization: ApiKey USER:KEY
//
// is answered as perfSONAR's REST guide prints it: 200, and nothing where there
// is nothing to say. Errors of both have the text in two members, detail for the
// one and error for the other. Reading needs no key.
//
// Where esmond loses, doubles or half-writes data, or fails with 500, this does
// not; docs/compatibility.md has the list.
package api
