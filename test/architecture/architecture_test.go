// Package architecture keeps the layers as the design has them: a package imports only from strictly lower ranks, and
// every third-party module has one owner.
package architecture

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/backstay/backstay/"

// ranks lists the packages from the ground up. A package takes the rank of the longest prefix that fits it.
var ranks = [][]string{
	{"resilience", "internal/base/config", "internal/base/event"},
	{"internal/observe/health", "internal/observe/resolve", "internal/observe/telemetry", "internal/observe/peer", "internal/observe/lag", "internal/decide/plan", "internal/serve/http1", "internal/act/account", "internal/act/daemon"},
	{"internal/cluster", "internal/act", "internal/decide/failover", "internal/serve/cache", "internal/serve/pool", "internal/serve/protect", "internal/serve/transport"},
	{"internal/serve/snapshot", "internal/act/fake", "internal/act/postgres", "internal/act/redis", "internal/act/script", "internal/act/conformance"},
	{"internal/serve/reach"},
	{"internal/serve/httpproxy", "internal/serve/tcpproxy", "internal/serve/pgproxy"},
	{"internal/control"},
	{"internal/operate/api"},
	{"internal/operate/cli", "internal/operate/demo"},
	{"internal/node"},
	{"cmd/backstay"},
}

// owners says which packages may import a third-party module; a prefix stands for all below it.
var owners = map[string][]string{
	"github.com/goccy/go-yaml":       {"internal/base/config"},
	"google.golang.org/grpc":         {"internal/observe/health", "resilience/grpcx"},
	"github.com/miekg/dns":           {"internal/observe/resolve"},
	"github.com/prometheus":          {"internal/observe/telemetry", "resilience/prom"},
	"go.opentelemetry.io":            {"internal/observe/telemetry", "resilience/otelx"},
	"github.com/pires/go-proxyproto": {"internal/serve/transport"},
	"golang.org/x/sys":               {"internal/serve/transport", "internal/serve/tcpproxy", "internal/node", "internal/act/watchdog"},
	"go.etcd.io":                     {"internal/cluster"},
	"go.uber.org/zap":                {"internal/cluster"},
	"github.com/jackc/pgx":           {"internal/act/postgres", "internal/operate/demo", "internal/serve/pgproxy"},
	"github.com/danielgtaylor/huma":  {"internal/operate/api"},
	"github.com/spf13/cobra":         {"internal/operate/cli"},
	"golang.org/x/term":              {"internal/operate/cli", "internal/operate/demo"},
}

func rank(pkg string) (int, bool) {
	best, length, found := 0, -1, false
	for r, group := range ranks {
		for _, prefix := range group {
			if (pkg == prefix || strings.HasPrefix(pkg, prefix+"/")) && len(prefix) > length {
				best, length, found = r, len(prefix), true
			}
		}
	}
	return best, found
}

// home is the package that a sub-package belongs to: internal/act/postgres of internal/act/postgres/guard.
func home(pkg string) string {
	parts := strings.SplitN(pkg, "/", 4)
	return strings.Join(parts[:min(3, len(parts))], "/")
}

// imports walks the tree's own files (tests aside) and calls visit for each import of each package.
func imports(t *testing.T, visit func(pkg, file, path string)) {
	t.Helper()
	root := filepath.Join("..", "..")
	count := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch name := d.Name(); {
			case name == "testdata" || name == "tools" || name == "bench" || name == "test" || strings.HasPrefix(name, ".") && path != root:
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		count++
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			visit(filepath.ToSlash(filepath.Dir(rel)), rel, imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 20 {
		t.Fatalf("only %d files were found: is the test looking at the right tree?", count)
	}
}

func TestLayers(t *testing.T) {
	told := map[string]bool{}
	imports(t, func(pkg, file, path string) {
		own, ok := rank(pkg)
		if !ok {
			if !told[pkg] {
				t.Errorf("package %s has no rank; give it one in ranks", pkg)
			}
			told[pkg] = true
			return
		}
		target, ours := strings.CutPrefix(path, module)
		if !ours {
			return
		}
		if strings.HasPrefix(target, pkg+"/") || strings.HasPrefix(pkg, target+"/") || home(target) == home(pkg) {
			return // a package and its own sub-packages
		}
		if below, ok := rank(target); !ok || below >= own {
			t.Errorf("%s imports %s, which is not of a lower rank", file, target)
		}
	})
}

func TestOwners(t *testing.T) {
	idle := map[string][]string{}
	for prefix, allowed := range owners {
		idle[prefix] = slices.Clone(allowed)
	}
	imports(t, func(pkg, file, path string) {
		first, _, _ := strings.Cut(path, "/")
		if !strings.Contains(first, ".") || strings.HasPrefix(path, module) {
			return
		}
		for prefix, allowed := range owners {
			if path != prefix && !strings.HasPrefix(path, prefix+"/") {
				continue
			}
			for _, a := range allowed {
				if pkg == a || strings.HasPrefix(pkg, a+"/") {
					idle[prefix] = slices.DeleteFunc(idle[prefix], func(s string) bool { return s == a })
					return
				}
			}
			t.Errorf("%s imports %s, which belongs to %s", file, path, strings.Join(allowed, ", "))
			return
		}
		t.Errorf("%s imports %s, which has no owner; name one in owners", file, path)
	})
	for prefix, left := range idle {
		if len(left) > 0 {
			t.Errorf("owners lets %s import %s, which it does not", strings.Join(left, " and "), prefix)
		}
	}
}

// adapters are the parts of the library that put it around a third-party module; an application that does not import one does
// not build that module.
var adapters = map[string]string{
	"resilience/grpcx": "google.golang.org/grpc",
	"resilience/prom":  "github.com/prometheus/client_golang",
	"resilience/otelx": "go.opentelemetry.io/otel",
}

func TestLibraryIsStandardOnly(t *testing.T) {
	imports(t, func(pkg, file, path string) {
		if pkg != "resilience" && !strings.HasPrefix(pkg, "resilience/") {
			return
		}
		first, _, _ := strings.Cut(path, "/")
		own := adapters[pkg]
		switch {
		case !strings.Contains(first, "."), own != "" && (path == own || strings.HasPrefix(path, own+"/")):
		case path == module+"resilience" && pkg != "resilience":
		default:
			t.Errorf("%s imports %s: applications embed this library, so all but its adapters (each with its one module) keep to the standard library", file, path)
		}
	})
}
