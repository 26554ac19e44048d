package health

import (
	"regexp"
	"sync"
)

// maxPatterns is how many compiled expressions are kept.
const maxPatterns = 1024

// patterns keeps compiled expressions, so that each look need not compile its own.
type patterns struct {
	mu       sync.Mutex
	compiled map[string]*regexp.Regexp
}

func (p *patterns) get(expr string) (*regexp.Regexp, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if re := p.compiled[expr]; re != nil {
		return re, nil
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	if p.compiled == nil || len(p.compiled) >= maxPatterns {
		p.compiled = map[string]*regexp.Regexp{}
	}
	p.compiled[expr] = re
	return re, nil
}
