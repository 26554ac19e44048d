package config

import (
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// joinPlain mends what the library's scanner does to plain texts with a colon inside braces: of {members: [10.0.0.1:80]}
// it makes a mapping of 10.0.0.1 to 80. By YAML 1.2.2, section 7.3.3, a colon without white space behind it is part of a
// plain text, unless what stands before it is quoted.
func joinPlain(in token.Tokens) token.Tokens {
	var out token.Tokens
	for i := 0; i < len(in); i++ {
		tk := in[i]
		if i+2 < len(in) && plainText(tk) && in[i+1].Type == token.MappingValueType && plainText(in[i+2]) &&
			adjacent(tk, in[i+1]) && adjacent(in[i+1], in[i+2]) {
			tk = token.String(tk.Value+":"+in[i+2].Value, tk.Origin+":"+in[i+2].Origin, tk.Position)
			i += 2
		}
		out.Add(tk)
	}
	return out
}

func plainText(tk *token.Token) bool {
	return tk.CharacterType == token.CharacterTypeMiscellaneous && tk.Indicator == token.NotIndicator
}

// adjacent tells whether b follows a without anything between them.
func adjacent(a, b *token.Token) bool {
	return a.Position != nil && b.Position != nil && a.Position.Line == b.Position.Line &&
		a.Position.Column+utf8.RuneCountInString(a.Value) == b.Position.Column
}

// maxNesting bounds what the library's parser, which calls itself for each level, is asked to read.
const maxNesting = 1000

// tooDeep is where a text nests deeper than any configuration does: in brackets and braces, or in lists of lists of
// lists on one line.
func tooDeep(tokens token.Tokens) *token.Token {
	brackets, run := 0, 0
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets = max(0, brackets-1)
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType, token.TagType, token.AnchorType:
			run++
		default:
			run = 0
		}
		if brackets > maxNesting || run > maxNesting {
			return tk
		}
	}
	return nil
}
