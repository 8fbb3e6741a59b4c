package api

import _ "embed"

// openAPI is the description of the interface, as OpenAPI 3.1. It is written by
// hand; a test holds each of its statements against the handler.
//
//go:embed openapi.json
var openAPI []byte
