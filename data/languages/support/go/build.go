// Builds a program of ordinary parts without the go command, which takes longer to find out what to do than the
// compiler and the linker take to do it.
//
//	build learn GO FOLDER ARGUMENT...   once: runs `GO ARGUMENT...`, and notes in FOLDER how that runs its tools
//	build record FOLDER TOOL ARGUMENT...   runs a tool for the go command, and notes how
//	build make FOLDER GO ARGUMENT...   per job: does what `GO ARGUMENT...` would, as was noted in FOLDER
//
// Only success comes from here: a program with anything unusual, and one that does not compile, is left to the go
// command. What is built here differs in its build id, in addresses, and in the line of `_testmain.go` that a program
// with several tests shows when all of its goroutines are stuck.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// The only test of the program to learn from.
const practiceTest = "TestPractice"

// The path that the go command gives to a package of files, and the function that returns its tests here.
const (
	ownPath   = "command-line-arguments"
	listTests = "autocodegenTestList"
)

// One run of a tool.
type run struct {
	Tool      string
	Arguments []string
	Goroot    string
	// The temporary folder of the go command.
	Work string
	// The contents of the files that the go command has made for it, by their paths.
	Files map[string]string
}

func main() {
	switch os.Args[1] {
	case "learn":
		learn(os.Args[2], os.Args[3], os.Args[4:])
	case "record":
		record(os.Args[2], os.Args[3], os.Args[4:])
	case "make":
		if !build(os.Args[2], os.Args[4:]) {
			replace(os.Args[3:])
		}
	}
}

func learn(goCommand, folder string, arguments []string) {
	check(os.MkdirAll(folder, 0o777))
	self, err := os.Executable()
	check(err)
	practice := arguments[len(arguments)-1]
	text, err := os.ReadFile(practice)
	check(err)
	run := func(text string, more ...string) {
		check(os.WriteFile(practice, []byte(text), 0o666))
		command := exec.Command(goCommand, append(append(arguments[:1:1], more...), arguments[1:]...)...)
		command.Stdout, command.Stderr = os.Stdout, os.Stderr
		check(command.Run())
	}
	// Packages that are compiled lie in a folder that goes, and only from the next run on in the cache. The program and
	// its test are to be compiled in that run as well: they come from other ones.
	run(strings.ReplaceAll(string(text), practiceTest, "TestOther") + "\nvar Other int\n")
	run(string(text), "-toolexec="+self+" record "+folder)
	if arguments[0] == "test" {
		err = compileEntry(folder)
	}
	if err == nil && !build(folder, arguments) {
		err = errors.New("what `go " + arguments[0] + "` did cannot be done again")
	}
	if err != nil {
		// A go command that works in a way of its own builds all programs itself.
		os.Stderr.WriteString(err.Error() + "\n")
		check(os.RemoveAll(folder))
	}
}

// Compiles the `main` package that the go command makes of a program's tests, once for all programs: here it asks the
// program for its tests, calling a function by its name. The linker is noted to take it.
func compileEntry(folder string) error {
	own, found := load(folder, "compile-"+ownPath)
	entry, ok := load(folder, "compile-main")
	if !found || !ok {
		return errors.New("`go test` compiled other packages than a program and its `main`")
	}
	change := strings.NewReplacer(
		`_test "`+ownPath+`"`, `_ "`+ownPath+`"; _ "unsafe"`,
		`{"`+practiceTest+`", _test.`+practiceTest+`},`, ``,
		`TestDeps{}, tests,`, `TestDeps{}, `+listTests+`(),`,
	)
	for path, text := range entry.Files {
		if strings.HasSuffix(path, ".go") {
			text = change.Replace(text) + "//go:linkname " + listTests + " " + ownPath + "." + listTests + "\n"
			entry.Files[path] = text + "func " + listTests + "() []testing.InternalTest\n"
		}
	}
	work, err := os.MkdirTemp("", "go-build")
	check(err)
	defer os.RemoveAll(work)
	if !own.repeat(work, nil, "") || !entry.repeat(work, nil, "") {
		return errors.New("the `main` of a program's tests does not compile")
	}
	program, err := os.ReadFile(own.in(work, valueOf(own.Arguments, "-o")))
	check(err)
	output := valueOf(entry.Arguments, "-o")
	object, err := os.ReadFile(entry.in(work, output))
	check(err)
	// An object begins with its fingerprint, and has those of the packages it was compiled with. The linker accepts no
	// others in their place, except where the object has zeros.
	start := regexp.MustCompile(`\x00go1\d\dld`).FindIndex(program)
	if start == nil || bytes.Count(object, program[start[1]:start[1]+8]) != 1 {
		return errors.New("the compiler's objects are of an unknown format")
	}
	object = bytes.Replace(object, program[start[1]:start[1]+8], make([]byte, 8), 1)
	link, err := os.ReadFile(noted(folder, "link"))
	check(err)
	file := filepath.Join(folder, "main.a")
	check(os.WriteFile(file, object, 0o666))
	return os.WriteFile(noted(folder, "link"), bytes.ReplaceAll(link, []byte(output), []byte(file)), 0o666)
}

// The files of a folder in which a run is noted.
func noted(folder, name string) string { return filepath.Join(folder, name+".json") }

func record(folder, tool string, arguments []string) {
	name := filepath.Base(tool)
	if output := valueOf(arguments, "-o"); output != "" && (name == "link" || name == "compile") {
		work := filepath.Dir(filepath.Dir(output))
		for filepath.Base(filepath.Dir(work)) != "tmp" && work != "/" {
			work = filepath.Dir(work)
		}
		it := run{tool, arguments, os.Getenv("GOROOT"), work, map[string]string{}}
		if name == "compile" {
			name += "-" + valueOf(arguments, "-p")
		}
		for _, argument := range arguments {
			if text, err := os.ReadFile(argument); err == nil && strings.HasPrefix(argument, work) && !strings.HasSuffix(argument, ".a") {
				it.Files[argument] = string(text)
			}
		}
		if name == "link" || name == "compile-main" || name == "compile-command-line-arguments" {
			text, err := json.Marshal(it)
			check(err)
			check(os.WriteFile(noted(folder, name), text, 0o666))
		}
	}
	replace(append([]string{tool}, arguments...))
}

// Becomes another command.
func replace(command []string) {
	path, err := exec.LookPath(command[0])
	check(err)
	check(syscall.Exec(path, command, os.Environ()))
}

// Whether the program was built.
func build(folder string, arguments []string) bool {
	var files, tests []string
	for _, argument := range arguments {
		if strings.HasSuffix(argument, ".go") {
			files = append(files, argument)
		}
	}
	// As the go command orders them: those of the program, then those of its tests.
	sort.SliceStable(files, func(a, b int) bool { return !isTestFile(files[a]) && isTestFile(files[b]) })
	compile, isTest := load(folder, "compile-"+ownPath)
	link, ok := load(folder, "link")
	if ok && !isTest {
		compile, ok = load(folder, "compile-main")
	}
	if !ok {
		return false
	}
	known := map[string]bool{"unsafe": true}
	for _, text := range compile.Files {
		for _, line := range strings.Split(text, "\n") {
			if path, _, found := strings.Cut(strings.TrimPrefix(line, "packagefile "), "="); found {
				known[path] = true
			}
		}
	}
	for _, file := range files {
		found, ordinary := read(file, known)
		if !ordinary {
			return false
		}
		if isTestFile(file) {
			tests = append(tests, found...)
		}
	}
	work, err := os.MkdirTemp("", "go-build")
	if err != nil {
		return false
	}
	defer os.RemoveAll(work)
	for index, file := range files {
		files[index] = "./" + file
	}
	if isTest {
		if len(tests) == 0 {
			return false
		}
		list := filepath.Join(filepath.Dir(valueOf(compile.Arguments, "-o")), "tests.go")
		compile.Files[list] = listing(tests)
		files = append(files, compile.in(work, list))
	}
	return compile.repeat(work, files, "") && link.repeat(work, nil, valueOf(arguments, "-o"))
}

func load(folder, name string) (run, bool) {
	var it run
	text, err := os.ReadFile(noted(folder, name))
	return it, err == nil && json.Unmarshal(text, &it) == nil
}

// A text of the go command, with another temporary folder.
func (it run) in(work, text string) string { return strings.ReplaceAll(text, it.Work, work) }

// Runs the tool again, with these source files instead of the practice's, and this output instead of one in the
// temporary folder.
func (it run) repeat(work string, files []string, output string) bool {
	for path, text := range it.Files {
		path = it.in(work, path)
		if os.MkdirAll(filepath.Dir(path), 0o777) != nil || os.WriteFile(path, []byte(it.in(work, text)), 0o666) != nil {
			return false
		}
	}
	var arguments []string
	for index, argument := range it.Arguments {
		switch {
		case output != "" && index > 0 && it.Arguments[index-1] == "-o":
			arguments = append(arguments, output)
		case files != nil && strings.HasSuffix(argument, ".go"):
			arguments = append(arguments, files...)
			files = []string{}
		default:
			arguments = append(arguments, it.in(work, argument))
		}
	}
	command := exec.Command(it.Tool, arguments...)
	command.Env = append(os.Environ(), "GOROOT="+it.Goroot)
	return command.Run() == nil
}

// A source file of the program's package that returns its tests, by names that no program has.
func listing(tests []string) string {
	text := "package main\n\nimport autocodegenTesting \"testing\"\n\n" +
		"func " + listTests + "() []autocodegenTesting.InternalTest {\n\treturn []autocodegenTesting.InternalTest{\n"
	for _, test := range tests {
		text += "\t\t{\"" + test + "\", " + test + "},\n"
	}
	return text + "\t}\n}\n"
}

func isTestFile(name string) bool { return strings.HasSuffix(name, "_test.go") }

// The tests of a source file, and whether it is ordinary: one of package main that imports what is known, has no
// directives, does not know of our function, and has no functions that `go test` treats in ways of their own.
func read(file string, known map[string]bool) (tests []string, ordinary bool) {
	source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil || source.Name.Name != "main" {
		return nil, false
	}
	for _, group := range source.Comments {
		for _, comment := range group.List {
			if strings.HasPrefix(comment.Text, "//go:") || strings.Contains(comment.Text, "+build") {
				return nil, false
			}
		}
	}
	for _, name := range source.Unresolved {
		if name.Name == listTests {
			return nil, false
		}
	}
	for _, spec := range source.Imports {
		if path, err := strconv.Unquote(spec.Path.Value); err != nil || !known[path] {
			return nil, false
		}
	}
	for _, declaration := range source.Decls {
		function, is := declaration.(*ast.FuncDecl)
		if !is || function.Recv != nil || !isTestFile(file) {
			continue
		}
		name := function.Name.Name
		switch {
		case name == "TestMain", hasPrefix(name, "Benchmark"), hasPrefix(name, "Fuzz"), hasPrefix(name, "Example"):
			return nil, false
		case hasPrefix(name, "Test"):
			if !takesT(function.Type) {
				return nil, false
			}
			tests = append(tests, name)
		}
	}
	return tests, true
}

// Whether `go test` takes a function of this name for one of that kind.
func hasPrefix(name, kind string) bool {
	rest, found := strings.CutPrefix(name, kind)
	first, _ := utf8.DecodeRuneInString(rest)
	return found && (rest == "" || !unicode.IsLower(first))
}

// Whether a function is what a test must be: `func(t *testing.T)`.
func takesT(function *ast.FuncType) bool {
	parameters := function.Params.List
	if function.TypeParams != nil || function.Results != nil || len(parameters) != 1 || len(parameters[0].Names) > 1 {
		return false
	}
	pointer, is := parameters[0].Type.(*ast.StarExpr)
	if !is {
		return false
	}
	selector, is := pointer.X.(*ast.SelectorExpr)
	return is && selector.Sel.Name == "T"
}

func valueOf(arguments []string, flag string) string {
	for index, argument := range arguments[:max(len(arguments)-1, 0)] {
		if argument == flag {
			return arguments[index+1]
		}
	}
	return ""
}

func check(err error) {
	if err != nil {
		os.Stderr.WriteString("build: " + err.Error() + "\n")
		os.Exit(1)
	}
}
