package postgres

import (
	"fmt"
	"hash/crc32"
	"regexp"
	"strconv"
	"strings"
)

var notSlot = regexp.MustCompile(`[^a-z0-9_]`)

// slotName is the replication slot that a node uses on its upstream.
func slotName(node string) string {
	name := "backstay_" + notSlot.ReplaceAllString(node, "_")
	if strings.HasSuffix(name, node) && len(name) <= 63 {
		return name
	}
	return fmt.Sprintf("%s_%08x", name[:min(len(name), 54)], crc32.ChecksumIEEE([]byte(node))) // others may look the same
}

// syncNames is synchronous_standby_names for a set and a quorum.
func syncNames(names []string, quorum int) string {
	if quorum <= 0 || len(names) == 0 {
		return ""
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = hbaWord(n)
	}
	return fmt.Sprintf("ANY %d (%s)", quorum, strings.Join(quoted, ", "))
}

var anyNames = regexp.MustCompile(`(?i)^\s*ANY\s+(\d+)\s*\((.*)\)\s*$`)

// parseSyncNames reads what syncNames wrote; another's setting counts as a set of one text that nobody is named.
func parseSyncNames(text string) (names []string, quorum int) {
	if strings.TrimSpace(text) == "" {
		return nil, 0
	}
	m := anyNames.FindStringSubmatch(text)
	if m == nil {
		return []string{text}, 1
	}
	quorum, _ = strconv.Atoi(m[1])
	for _, n := range strings.Split(m[2], ",") {
		n = strings.TrimSpace(n)
		if len(n) > 1 && n[0] == '"' {
			n = strings.ReplaceAll(n[1:len(n)-1], `""`, `"`)
		}
		names = append(names, n)
	}
	return names, quorum
}
