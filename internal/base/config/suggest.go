package config

import (
	"maps"
	"slices"
)

// synonyms are the words of other tools for what has another name here.
var synonyms = map[string]string{
	"backends": "members", "servers": "members", "upstreams": "members", "endpoints": "members", "targets": "members",
	"health": "check", "healthcheck": "check", "health_check": "check", "interval": "every",
	"bind": "listen", "frontends": "listeners", "upstream": "service", "backend": "service", "cluster": "service",
	"retries": "retry", "algorithm": "policy", "load_balancing": "balance", "circuit_breaker": "breaker",
	"host": "address", "addr": "address", "url": "address", "status_code": "status", "code": "status",
	"path_prefix": "path", "prefix": "path", "methods": "method", "rate": "share", "endpoint": "otlp",
}

// closest is the candidate that was probably meant by word, or "" where none comes close.
func closest(word string, candidates []string) string {
	best, nearest := "", max(1, len(word)/3)+1
	for _, candidate := range candidates {
		if d := distance(word, candidate, nearest); d < nearest {
			best, nearest = candidate, d
		}
	}
	if best == "" && slices.Contains(candidates, synonyms[word]) {
		return synonyms[word]
	}
	return best
}

// distance is how many letters must be changed, added, removed or swapped with their neighbour to make b of a
// (optimal string alignment); anything from limit on is as good as limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 100 {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// keys are the keys of m in order.
func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
