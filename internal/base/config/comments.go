package config

import (
	"embed"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
)

// schemaSource is the schema as it is written, for the descriptions in its comments.
//
//go:embed schema.go schema_check.go schema_cluster.go schema_listener.go schema_protect.go schema_service.go
var schemaSource embed.FS

// comments are the descriptions of the schema's types (Check) and keys (Check.Every).
func comments() map[string]string {
	all := map[string]string{}
	files, err := schemaSource.ReadDir(".")
	if err != nil {
		panic("config: read the schema's comments: " + err.Error())
	}
	for _, entry := range files {
		name := entry.Name()
		text, err := schemaSource.ReadFile(name)
		if err != nil {
			panic("config: read the schema's comments: " + err.Error())
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
		if err != nil {
			panic("config: read the schema's comments: " + err.Error())
		}
		commentsOf(file, all)
	}
	return all
}

// commentsOf adds the descriptions in one file.
func commentsOf(file *ast.File, all map[string]string) {
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.TYPE {
			continue
		}
		for _, spec := range group.Specs {
			typ := spec.(*ast.TypeSpec)
			name := typ.Name.Name
			all[name] = sentence(name, group.Doc)
			body, ok := typ.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range body.Fields.List {
				for _, id := range f.Names {
					all[name+"."+id.Name] = sentence(id.Name, f.Doc)
				}
			}
		}
	}
}

// linking are the words after a name that make no sense without it: "Name is how people refer to it".
var linking = []string{"is ", "are ", "says "}

// sentence is a comment without the Go name at its beginning, for people who read YAML.
func sentence(name string, doc *ast.CommentGroup) string {
	text := strings.Join(strings.Fields(doc.Text()), " ")
	rest, ok := strings.CutPrefix(text, name+" ")
	if !ok || rest == "" {
		return text
	}
	for _, word := range linking {
		if after, found := strings.CutPrefix(rest, word); found && word != "says " {
			rest = after
		}
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}
