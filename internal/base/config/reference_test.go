package config

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestReferenceIsWritten(t *testing.T) {
	golden(t, "../../../docs/configuration.md", Reference())
}

func TestReferenceLinksLeadSomewhere(t *testing.T) {
	text := string(Reference())
	for _, link := range regexp.MustCompile(`\(#([^)]+)\)`).FindAllStringSubmatch(text, -1) {
		heading := strings.ReplaceAll(link[1], "-", " ")
		if !strings.Contains(strings.ToLower(text), "\n## "+heading+"\n") {
			t.Errorf("%s leads nowhere", link[0])
		}
	}
}

// named finds services that an example only names.
var named = regexp.MustCompile(`service: ([a-z]+)`)

func TestReferenceExamplesParse(t *testing.T) {
	for name, text := range referenceExamples {
		if !bytes.Contains(Reference(), []byte(text)) {
			t.Errorf("the example of %s stands nowhere in the reference", name)
		}
		full := text
		if !strings.Contains(text, "services:") {
			full += "services:\n"
			seen := map[string]bool{}
			for _, match := range named.FindAllStringSubmatch(text, -1) {
				if !seen[match[1]] {
					full += "  - {name: " + match[1] + ", members: [10.0.0.1:80]}\n"
				}
				seen[match[1]] = true
			}
			full = strings.TrimSuffix(full, "services:\n")
		}
		if _, err := Parse(name, []byte(full)); err != nil {
			t.Errorf("\n%v", err)
		}
	}
	for i, block := range strings.Split(referenceIntro, "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if _, err := Parse("reference.md", []byte(text)); err != nil {
			t.Errorf("block %d:\n%v", i+1, err)
		}
	}
}

func TestExamplesLoad(t *testing.T) {
	for _, file := range examples(t) {
		if _, err := Load(file); err != nil {
			t.Errorf("\n%v", err)
		}
	}
}
