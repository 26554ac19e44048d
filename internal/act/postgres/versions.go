package postgres

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Major versions that the engine knows. What it uses itself is in all of them; DESIGN.md lists it.
const (
	oldest = 13
	newest = 18
)

// A span is from which major version on there is something, and from which on there is not any more; 0 for no bound.
type span struct{ since, gone int }

func (s span) has(major int) bool { return major >= s.since && (s.gone == 0 || major < s.gone) }

// spans are parameters that users set and not all versions know (from the release notes): a server does not start with one
// that it does not know, which is found out at its next restart.
var spans = map[string]span{
	"wal_keep_segments": {0, 13}, "operator_precedence_warning": {0, 14}, "vacuum_cleanup_index_scale_factor": {0, 14},
	"stats_temp_directory": {0, 15}, "promote_trigger_file": {0, 16}, "vacuum_defer_cleanup_age": {0, 16}, "force_parallel_mode": {0, 16},
	"old_snapshot_threshold": {0, 17}, "trace_recovery_messages": {0, 17}, "db_user_namespace": {0, 17},

	"compute_query_id": {14, 0}, "idle_session_timeout": {14, 0}, "client_connection_check_interval": {14, 0}, "huge_page_size": {14, 0},
	"recovery_init_sync_method": {14, 0}, "track_wal_io_timing": {14, 0}, "recovery_prefetch": {15, 0}, "wal_decode_buffer_size": {15, 0},
	"log_startup_progress_interval": {15, 0}, "archive_library": {15, 0}, "reserved_connections": {16, 0}, "vacuum_buffer_usage_limit": {16, 0},
	"scram_iterations": {16, 0}, "summarize_wal": {17, 0}, "sync_replication_slots": {17, 0}, "synchronized_standby_slots": {17, 0},
	"transaction_timeout": {17, 0}, "allow_alter_system": {17, 0}, "io_combine_limit": {17, 0}, "io_method": {18, 0}, "io_workers": {18, 0},
	"idle_replication_slot_timeout": {18, 0}, "autovacuum_worker_slots": {18, 0}, "max_active_replication_origins": {18, 0},
}

// checkVersion says what a major version cannot do of what a user set.
func checkVersion(major int, parameters map[string]string, hba []string) error {
	if major == 0 { // not to be told
		return nil
	}
	if major < oldest {
		return fmt.Errorf("PostgreSQL %d is too old: %d to %d can be run", major, oldest, newest)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		s, known := spans[strings.ToLower(name)]
		switch {
		case !known || s.has(major):
		case major < s.since:
			errs = append(errs, fmt.Errorf("parameter %s is not known to PostgreSQL %d, only from %d on: leave it out", name, major, s.since))
		default:
			errs = append(errs, fmt.Errorf("parameter %s is not known to PostgreSQL %d any more, it went with %d: leave it out", name, major, s.gone))
		}
	}
	for _, l := range hba {
		if strings.HasPrefix(l, "include") && major < 16 {
			errs = append(errs, fmt.Errorf("pg_hba line %q: PostgreSQL %d knows no include, only from 16 on: write the lines themselves", l, major))
		}
	}
	return errors.Join(errs...)
}
