package pgproxy

import (
	"slices"
	"strings"
	"testing"
)

// script feeds a tracker: "> Q SELECT 1" is from the client, "< C SELECT 1" from the server. A body's zeros are written as /.
func script(t *testing.T, tr *tracker, lines ...string) {
	t.Helper()
	for _, line := range lines {
		way, kind, body := line[0], line[2], strings.ReplaceAll(strings.TrimPrefix(line[3:], " "), "/", "\x00")
		switch kind {
		case 'Q', 'C':
			if way == '>' && kind == 'C' {
				break
			}
			body += "\x00"
		}
		raw := message(kind, []byte(body))
		p := part{kind: kind, raw: raw, body: raw[headSize:], first: true, last: true}
		if way == '>' {
			tr.client(&p)
		} else {
			tr.server(&p)
		}
	}
}

func newTracker() *tracker { return &tracker{status: 'I', parameters: map[string]string{}} }

func TestIdle(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		idle  bool
	}{
		"nothing yet":                   {nil, true},
		"a query":                       {[]string{"> Q SELECT 1"}, false},
		"answered":                      {[]string{"> Q SELECT 1", "< C SELECT 1", "< Z I"}, true},
		"in a transaction":              {[]string{"> Q BEGIN", "< C BEGIN", "< Z T"}, false},
		"in one that failed":            {[]string{"> Q x", "< E", "< Z E"}, false},
		"two, one answered":             {[]string{"> Q SELECT 1", "> Q SELECT 2", "< C SELECT 1", "< Z I"}, false},
		"extended without Sync":         {[]string{"> P /SELECT 1//", "> H", "< 1"}, false},
		"extended":                      {[]string{"> P /SELECT 1//", "> B //", "> E", "> S", "< 1", "< 2", "< C SELECT 1", "< Z I"}, true},
		"extended, failed":              {[]string{"> P /SELEC//", "> B //", "> E", "> S", "< E", "< Z I"}, true},
		"COPY in":                       {[]string{"> Q COPY t FROM STDIN", "< G", "> d x"}, false},
		"COPY in, done":                 {[]string{"> Q COPY t FROM STDIN", "< G", "> d x", "> c", "< C COPY 1", "< Z I"}, true},
		"COPY in, not awaited":          {[]string{"> Q COPY t FROM STDIN", "> d x", "> c", "< G", "< C COPY 1", "< Z I"}, true},
		"COPY in, extended, as libpq":   {[]string{"> P /COPY t FROM STDIN//", "> B //", "> E", "> S", "< 1", "< 2", "< G", "> d x", "> c", "> S", "< C COPY 1", "< Z I"}, true},
		"the same before its last Sync": {[]string{"> P /COPY t FROM STDIN//", "> B //", "> E", "> S", "< 1", "< 2", "< G", "> d x", "> c", "> S", "< C COPY 1"}, false},
		"COPY in, failed":               {[]string{"> P /COPY t FROM STDIN//", "> B //", "> E", "> S", "< 1", "< 2", "< G", "> d x", "< E", "> c", "> S", "< Z I"}, true},
		"COPY out":                      {[]string{"> Q COPY t TO STDOUT", "< H", "< d x", "< c"}, false},
		"COPY out, done":                {[]string{"> Q COPY t TO STDOUT", "< H", "< d x", "< c", "< C COPY 1", "< Z I"}, true},
		"a query passed over":           {[]string{"> P /SELEC//", "> Q SELECT 1", "> S", "< E", "< Z I"}, true},
		"before its Sync":               {[]string{"> P /SELEC//", "> Q SELECT 1", "< E"}, false},
		"its Sync comes later":          {[]string{"> P /SELEC//", "< E", "> Q SELECT 1", "> F", "> S", "< Z I"}, true},
		"behind what is bound wrongly":  {[]string{"> P /SELECT 1//", "> B x/", "> Q SELECT 1", "> S", "< 1", "< E", "< Z I"}, true},
		"a query that fails itself":     {[]string{"> P /SELECT 1//", "> B //", "> E", "> Q SELEC", "> S", "< 1", "< 2", "< C SELECT 1", "< E", "< Z I"}, false},
		"and its Sync":                  {[]string{"> P /SELECT 1//", "> B //", "> E", "> Q SELEC", "> S", "< 1", "< 2", "< C SELECT 1", "< E", "< Z I", "< Z I"}, true},
		"queries, the first fails":      {[]string{"> Q SELEC", "> Q SELECT 1", "< E", "< Z I"}, false},
		"a function":                    {[]string{"> F", "< V", "< Z I"}, true},
		"rows nobody asked for":         {[]string{"> d x", "> c"}, true},
	} {
		tr := newTracker()
		script(t, tr, c.lines...)
		if tr.idle() != c.idle {
			t.Errorf("%s: idle is %v", name, tr.idle())
		}
	}
}

func TestStatements(t *testing.T) {
	tr := newTracker()
	script(t, tr, "> P one/SELECT 1//", "> P two/SELEC//", "> P three/SELECT 3//", "> S", "< 1", "< E", "< Z I")
	if names := len(tr.statements); names != 1 || tr.statements["one"] == nil {
		t.Fatalf("%q", tr.statements)
	}
	script(t, tr, "> P /SELECT 9//", "> D S", "> S", "< 1", "< T", "< Z I")
	if !strings.Contains(string(tr.unnamed), "SELECT 9") {
		t.Errorf("the unnamed one is %q", tr.unnamed)
	}
	script(t, tr, "> Q SELECT 1", "< C SELECT 1", "< Z I")
	if len(tr.unnamed) > 0 {
		t.Error("a simple query ends the unnamed one")
	}
	script(t, tr, "> P two/SELECT 2//", "> C Sone/", "> S", "< 1", "< 3", "< Z I")
	if tr.statements["one"] != nil || tr.statements["two"] == nil {
		t.Errorf("%q", tr.statements)
	}
	if tr.kept != len(tr.statements["two"]) {
		t.Errorf("%d bytes are counted", tr.kept)
	}
	script(t, tr, "> Q DEALLOCATE two", "< C DEALLOCATE", "< Z I")
	if len(tr.statements) > 0 || tr.kept != 0 {
		t.Errorf("%q, %d bytes", tr.statements, tr.kept)
	}
	for text, gone := range map[string]string{
		"DEALLOCATE One": "one", `deallocate "One"`: "One", `DEALLOCATE PREPARE "a ""b"";";`: `a "b";`, "DEALLOCATE PREPARE ONE ;": "one",
		"DEALLOCATE /* x */ One": "", `DEALLOCATE "One" -- "x"`: "",
	} {
		for _, name := range []string{"one", "One", `a "b";`} {
			script(t, tr, "> P "+name+"/SELECT//", "> S", "< 1", "< Z I")
		}
		had := len(tr.statements)
		tr.client(&part{kind: 'Q', body: append([]byte(text), 0), first: true, last: true})
		script(t, tr, "< C DEALLOCATE", "< Z I")
		if now := len(tr.statements); gone == "" && now != had || gone != "" && (now != had-1 || tr.statements[gone] != nil) {
			t.Errorf("%s: left are %q", text, tr.statements)
		}
	}
	for range maxStatements + 1 {
		tr.kept = 0
		script(t, tr, "> P x"+strings.Repeat("y", len(tr.statements)%97)+string(rune('a'+len(tr.statements)/97))+"/SELECT//", "> S", "< 1", "< Z I")
	}
	if tr.ties&tieStatements == 0 {
		t.Errorf("%d statements are kept", len(tr.statements))
	}
}

func TestSettings(t *testing.T) {
	one := func(q, tag, status string) []string { return []string{"> Q " + q, "< C " + tag, "< Z " + status} }
	for name, c := range map[string]struct {
		lines []string
		want  []string
		tied  bool
	}{
		"newest of a name":          {slices.Concat(one("SET a = 1", "SET", "I"), one("SET b TO 2;", "SET", "I"), one("set SESSION A=3", "SET", "I")), []string{"SET b TO 2", "set SESSION A=3"}, false},
		"reset":                     {slices.Concat(one("SET a = 1", "SET", "I"), one("RESET a", "RESET", "I")), nil, false},
		"reset all":                 {slices.Concat(one("SET a = 1", "SET", "I"), one("SET b = 1", "SET", "I"), one("RESET ALL", "RESET", "I")), nil, false},
		"discard all":               {slices.Concat(one("SET a = 1", "SET", "I"), one("LISTEN x", "LISTEN", "I"), one("DISCARD ALL", "DISCARD ALL", "I")), nil, false},
		"role and authorization":    {slices.Concat(one("SET ROLE x", "SET", "I"), one("SET SESSION AUTHORIZATION y", "SET", "I"), one("SET TIME ZONE 'UTC'", "SET", "I")), []string{"SET ROLE x", "SET SESSION AUTHORIZATION y", "SET TIME ZONE 'UTC'"}, false},
		"failed":                    {[]string{"> Q SET a = 1", "< E", "< Z I"}, nil, false},
		"local":                     {one("SET LOCAL a = 1", "SET", "I"), nil, false},
		"committed":                 {slices.Concat(one("BEGIN", "BEGIN", "T"), one("SET a = 1", "SET", "T"), one("SET TRANSACTION READ ONLY", "SET", "T"), one("COMMIT", "COMMIT", "I")), []string{"SET a = 1"}, false},
		"rolled back":               {slices.Concat(one("BEGIN", "BEGIN", "T"), one("SET a = 1", "SET", "T"), one("ROLLBACK", "ROLLBACK", "I")), nil, false},
		"a commit that failed":      {slices.Concat(one("BEGIN", "BEGIN", "T"), one("SET a = 1", "SET", "T"), []string{"> Q x", "< E", "< Z E"}, one("COMMIT", "ROLLBACK", "I")), nil, false},
		"after a savepoint":         {slices.Concat(one("BEGIN", "BEGIN", "T"), one("SET a = 1", "SET", "T"), one("ROLLBACK TO s", "ROLLBACK", "T"), one("COMMIT", "COMMIT", "I")), []string{"SET a = 1"}, true},
		"two in one":                {[]string{"> Q SET a = 1; SET b = 2", "< C SET", "< C SET", "< Z I"}, []string{"SET a = 1; SET b = 2"}, false},
		"with something else":       {[]string{"> Q SET a = 1; SELECT 1", "< C SET", "< C SELECT 1", "< Z I"}, nil, true},
		"a transaction's beginning": {[]string{"> Q BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "< C BEGIN", "< C SET", "< Z T", "> Q COMMIT", "< C COMMIT", "< Z I"}, nil, false},
		"extended":                  {[]string{"> P /SET a = 1//", "> B //", "> E", "> S", "< 1", "< 2", "< C SET", "< Z I"}, []string{"SET a = 1"}, false},
		"extended, not known":       {[]string{"> B x//", "> E", "> S", "< 2", "< C SET", "< Z I"}, nil, true},
		"reset all keeps who it is": {slices.Concat(one("SET ROLE x", "SET", "I"), one("SET a = 1", "SET", "I"), one("RESET ALL", "RESET", "I")), []string{"SET ROLE x"}, false},
		"of two only one replaced":  {slices.Concat([]string{"> Q SET a = 1; SET b = 2", "< C SET", "< C SET", "< Z I"}, one("SET a = 3", "SET", "I")), []string{"SET a = 1; SET b = 2", "SET a = 3"}, false},
		"of two one reset":          {slices.Concat([]string{"> Q SET a = 1; SET b = 2", "< C SET", "< C SET", "< Z I"}, one("RESET a", "RESET", "I")), []string{"SET a = 1; SET b = 2", "RESET a"}, false},
		"local, and not":            {[]string{"> Q SET LOCAL a = 1; SET b = 2", "< C SET", "< C SET", "< Z I"}, []string{"SET LOCAL a = 1; SET b = 2"}, false},
		"reset all, then one":       {slices.Concat(one("SET b = 1", "SET", "I"), []string{"> Q RESET ALL; SET a = 1", "< C RESET", "< C SET", "< Z I"}), []string{"SET b = 1", "RESET ALL; SET a = 1"}, false},
		"characteristics":           {slices.Concat(one("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET", "I"), one("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET", "I")), []string{"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"}, false},
		"with remarks":              {slices.Concat(one("-- app\nSET a = 1", "SET", "I"), one("-- app\nSET b = 1", "SET", "I")), []string{"-- app\nSET a = 1", "-- app\nSET b = 1"}, false},
		"after a rollback, at once": {[]string{"> P /ROLLBACK//", "> E", "> P /SET a = 1//", "> E", "> S", "< 1", "< C ROLLBACK", "< 1", "< C SET", "< Z I"}, nil, true},
		"an update":                 {one("UPDATE t SET a = 1", "UPDATE 1", "I"), nil, false},
	} {
		tr := newTracker()
		script(t, tr, c.lines...)
		var got []string
		for _, s := range tr.settings.kept {
			got = append(got, s.text)
		}
		if !slices.Equal(got, c.want) || (tr.ties != 0) != c.tied || !tr.idle() {
			t.Errorf("%s: %q, tied by %s, idle %v", name, got, tr.ties, tr.idle())
		}
	}
}

func TestTies(t *testing.T) {
	for text, want := range map[string]ties{
		"SELECT 1": 0, "SELECT temp FROM weather": 0, "INSERT INTO temp VALUES (1)": 0, "SELECT 'CREATE TEMP TABLE x'": 0,
		"SELECT $1 -- don't CREATE TEMP TABLE\n": 0, "/* it's /* nested */ a temp */ SELECT 1": 0, `SELECT "create temp"`: 0,
		"SELECT E'\\'', 'pg_advisory_lock'": 0, "SELECT pg_advisory_xact_lock(1)": 0, "SELECT set_config('a', 'b', true)": 0,
		"create temp table x ()": tieTemporary, "CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1": tieTemporary,
		"create local temp table x ()": tieTemporary, "SELECT 1 INTO TEMP x": tieTemporary, "CREATE TABLE pg_temp.x ()": tieTemporary,
		"SELECT 1; CREATE /* a */ TEMP -- b\n TABLE x ()": tieTemporary, "SELECT 'it''s'; CREATE TEMP TABLE x ()": tieTemporary,
		"SELECT pg_advisory_lock(1)": tieAdvisory, "SELECT Pg_Try_Advisory_Lock_Shared(1, 2)": tieAdvisory,
		"DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$": tieAdvisory,
		"DECLARE c CURSOR WITH HOLD FOR SELECT 1":         tieCursor, "SELECT set_config('a', 'b', false)": tieSetting,
		"SELECT set_config('a', 'true', $1)":                                tieSetting,
		"SELECT set_config('a', 'b', false) WHERE true":                     tieSetting,
		"SELECT set_config('a', 'b', false), true":                          tieSetting,
		"SELECT set_config('a', 'b', NOT true)":                             tieSetting,
		"SELECT set_config('a', 'b', (true AND false))":                     tieSetting,
		"SELECT set_config('a', true::text, false)":                         tieSetting,
		"SELECT set_config('a', $$,x,true)$$, false)":                       tieSetting,
		"SELECT set_config('a', set_config('b', 'c', false), true)":         tieSetting,
		"SELECT set_config('a', 'b', true), set_config('c', 'd', false)":    tieSetting,
		"SELECT set_config('a', f(1, 2), TRUE ), set_config ('c', $1,true)": 0,
	} {
		for _, size := range []int{1, 3, 1000} {
			var w words
			w.reset()
			for i := 0; i < len(text); i += size {
				w.read([]byte(text[i:min(i+size, len(text))]))
			}
			w.end()
			got := w.ties
			if w.configs > 0 {
				got |= tieSetting
			}
			if got != want {
				t.Errorf("%q in pieces of %d: %s, not %s", text, size, got, want)
			}
		}
	}
	for _, c := range []struct {
		lines []string
		want  ties
	}{
		{[]string{"> Q LISTEN x", "< C LISTEN", "< Z I"}, tieListen},
		{[]string{"> Q LISTEN x", "< C LISTEN", "< Z I", "> Q UNLISTEN x", "< C UNLISTEN", "< Z I"}, tieListen},
		{[]string{"> Q LISTEN x", "< C LISTEN", "< Z I", "> Q UNLISTEN *", "< C UNLISTEN", "< Z I"}, 0},
		{[]string{"> Q PREPARE p AS SELECT 1", "< C PREPARE", "< Z I"}, tiePrepare},
		{[]string{"> Q PREPARE p AS SELECT 1", "< C PREPARE", "< Z I", "> Q DEALLOCATE ALL", "< C DEALLOCATE ALL", "< Z I"}, 0},
		{[]string{"> Q LOAD 'x'", "< C LOAD", "< Z I"}, tieLoad},
		{[]string{"> Q CREATE TEMP TABLE x ()", "< C CREATE TABLE", "< Z I", "> Q DISCARD TEMP", "< C DISCARD TEMP", "< Z I"}, 0},
		{[]string{"> Q SELECT pg_advisory_lock(1)", "< C SELECT 1", "< Z I", "> Q DISCARD ALL", "< C DISCARD ALL", "< Z I"}, 0},
		{[]string{"> Q DISCARD ALL", "> P /SELECT pg_advisory_lock(1)//", "> S", "< C DISCARD ALL", "< Z I"}, tieAdvisory}, // as Npgsql does it
		{[]string{"> Q DISCARD TEMP", "> Q CREATE TEMP TABLE x ()", "< C DISCARD TEMP", "< Z I"}, tieTemporary},
		{[]string{"< W"}, tieReplication},
		{[]string{"> ~"}, tieProtocol},
	} {
		tr := newTracker()
		script(t, tr, c.lines...)
		if tr.ties != c.want {
			t.Errorf("%q: %s, not %s", c.lines, tr.ties, c.want)
		}
	}
	if got := (tieTemporary | tieCursor).String(); got != "a temporary table" {
		t.Error(got)
	}
}

// A message that is there in part only belongs to the server that has its beginning: its rest would be read as requests by another.
func TestTornMessageIsNotIdle(t *testing.T) {
	for _, kind := range []byte("QPCFd") {
		tr := newTracker()
		tr.client(&part{kind: kind, raw: make([]byte, 105), body: make([]byte, 100), first: true})
		if tr.idle() || tr.unasked() {
			t.Errorf("%c: idle in the middle of a message", kind)
		}
		tr.client(&part{kind: kind, raw: make([]byte, 100), body: make([]byte, 100), last: true})
		if kind == 'd' && !tr.idle() {
			t.Error("rows that nobody asked for are not over")
		}
	}
}
