// Package serve is the HTTP server of a measurement archive: what lets its REST
// interface and its page face a network. It bounds what peers may hold
// (connections, requests, time), speaks TLS, tells browsers of other origins what
// they may do, writes an access log, counts for Prometheus, and says whether the
// archive is well.
//
//	/esmond/perfsonar/…, /perfsonar/…, /openapi.json   the REST interface
//	/metrics                                           for Prometheus
//	/healthz                                           200 while the process serves
//	/readyz                                            200 while the archive answers, else 503
//	all others                                         the page
//
// # Slow and many peers
//
// A peer may let a request wait for 30 seconds altogether, reading and writing
// apart, and a second more for each 16 KiB that it has sent or taken. Only the
// time in which the server waits for the peer counts, so that neither a long
// answer nor a live one ends before its time.
//
// When there are as many connections as may be, the next one takes the place of
// one on which no request is being answered: of the address that has most, the
// one that has waited longest. No address has more than half of the requests
// that are answered at once, nor of the four among them whose bodies are large.
// Here the neighbours in an IPv6 /64 are one address.
package serve
