// Package api is how people and programs talk to a running node: HTTP and JSON over a unix socket, the wire types,
// the server and the client. It decides nothing: whatever is asked goes to System, which the node implements.
//
// Beside the API stand /metrics, /debug/pprof/ and the OpenAPI description at /openapi.json, so that
// `curl --unix-socket admin.sock http://node/openapi.json` tells the rest.
package api
