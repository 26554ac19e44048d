package config

// Schema is the JSON Schema (2020-12) of the configuration file, for editors.
func Schema() []byte { panic("being written") }
