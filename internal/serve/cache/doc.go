// Package cache is a shared HTTP cache (RFC 9111) for the answers of one service: an ordinary one, which gives fresh answers without
// asking, or the store behind a fallback, which is asked only when the service fails (RFC 5861, stale-if-error).
//
// What may be stored, whether it is fresh, and what has to be validated are pure functions over heads and times (Directives,
// storable, Entry); Cache is the state around them. Entries are immutable: an answer that is being given stays whole whatever
// becomes of its entry. The package writes to no client and asks no member: the exchange of the HTTP proxy does, and tells the
// cache what it saw.
//
// Memory is bounded in bytes, with those of answers that are still being written; it is emptied by S3-FIFO (see memory.go). Under
// it lies a tier of files (see disk.go), which survives a restart. A disk that is full or fails makes the cache smaller, and
// nothing else.
package cache
