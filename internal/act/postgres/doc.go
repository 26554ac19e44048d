// Package postgres is the engine for PostgreSQL 13 to 18: it creates, clones, runs, fences, promotes and rewinds the one
// instance of its own node, as a child process, and says what it sees of it. It knows no rules: what is to be done and
// when is decided elsewhere and arrives as steps.
package postgres

import _ "github.com/jackc/pgx/v5" // the driver
