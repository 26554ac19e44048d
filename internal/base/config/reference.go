package config

// Reference is the configuration reference in Markdown: every key with its type, default and meaning.
func Reference() []byte { panic("being written") }
