// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"sort"
	"strings"
	"unicode"
)

// sizes lays structs out as the only supported target does.
var sizes = types.SizesFor("gc", "amd64")

// load type-checks the Go files in dir that define the layout of package name:
// all of abi, and layout.go of other packages, which have code as well.
func load(dir, name string) (*types.Package, error) {
	fset := token.NewFileSet()
	pattern := "*.go"
	if name != "abi" {
		pattern = "layout.go"
	}
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", dir, err)
	}
	var files []*ast.File
	for _, path := range names {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", dir, err)
		}
		if f.Name.Name == name {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no package %s in %s: run the generator in its folder", name, dir)
	}
	// An importer is deliberately absent: a definition that needs another
	// package could not be expressed in C.
	pkg, err := (&types.Config{Sizes: sizes}).Check(name, fset, files, nil)
	if err != nil {
		return nil, fmt.Errorf("type-check %s: %w", dir, err)
	}
	return pkg, nil
}

// header returns the C header for the package in dir under the given licence.
func header(dir string, src source, licence string) ([]byte, error) {
	text, err := contents(dir, src)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "/* SPDX-License-Identifier: %s */\n", licence)
	fmt.Fprintf(&b, "/* Generated from %s by go generate ./%[1]s; do not edit. */\n", src.dir)
	guard := "PARACELL_" + strings.ToUpper(src.name) + "_H"
	fmt.Fprintf(&b, "#ifndef %s\n#define %[1]s\n\n", guard)
	if src.name == identified {
		id, err := identity(filepath.Join(dir, "../.."))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, identityC, id)
	}
	b.Write(text)
	fmt.Fprintf(&b, "#endif /* %s */\n", guard)
	return b.Bytes(), nil
}

// contents is what is defined for C by the package in dir.
func contents(dir string, src source) ([]byte, error) {
	pkg, err := load(dir, src.name)
	if err != nil {
		return nil, err
	}
	consts, structs := definitions(pkg)

	var b bytes.Buffer
	prefix := strings.ToUpper(src.prefix)
	for _, c := range consts {
		text, err := constText(c)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "#define %s_%s %s\n", prefix, upper(c.Name()), text)
	}
	b.WriteString("\n/* Sizes and offsets in bytes, for C and assembly. */\n")
	for _, s := range structs {
		writeOffsets(&b, src.prefix, s)
	}
	b.WriteString("\n#ifndef __ASSEMBLER__\n")
	for _, s := range structs {
		if err := writeStruct(&b, src.prefix, s); err != nil {
			return nil, err
		}
	}
	for _, s := range structs {
		writeAsserts(&b, src.prefix, s)
	}
	b.WriteString("#endif /* __ASSEMBLER__ */\n\n")
	return b.Bytes(), nil
}

// definitions returns the exported constants and structs in source order,
// which puts every struct after those that it contains only if the source
// does; structs are therefore sorted by dependency.
func definitions(pkg *types.Package) (consts []*types.Const, structs []*types.Named) {
	var named []*types.Named
	for _, name := range pkg.Scope().Names() {
		if !token.IsExported(name) || name == identityName {
			continue
		}
		switch obj := pkg.Scope().Lookup(name).(type) {
		case *types.Const:
			consts = append(consts, obj)
		case *types.TypeName:
			if n, ok := obj.Type().(*types.Named); ok {
				if _, ok := n.Underlying().(*types.Struct); ok {
					named = append(named, n)
				}
			}
		}
	}
	sort.Slice(consts, func(i, j int) bool { return consts[i].Pos() < consts[j].Pos() })
	sort.Slice(named, func(i, j int) bool { return named[i].Obj().Pos() < named[j].Obj().Pos() })

	seen := map[*types.Named]bool{}
	var visit func(n *types.Named)
	visit = func(n *types.Named) {
		if seen[n] {
			return
		}
		seen[n] = true
		st := n.Underlying().(*types.Struct)
		for f := range st.Fields() {
			if dep, ok := elem(f.Type()).(*types.Named); ok {
				visit(dep)
			}
		}
		structs = append(structs, n)
	}
	for _, n := range named {
		visit(n)
	}
	return consts, structs
}

// elem strips array types.
func elem(t types.Type) types.Type {
	for {
		a, ok := t.(*types.Array)
		if !ok {
			return t
		}
		t = a.Elem()
	}
}

func constText(c *types.Const) (string, error) {
	v := constant.ToInt(c.Val())
	if v.Kind() != constant.Int {
		return "", fmt.Errorf("constant %s is not an integer; C and assembly cannot share it", c.Name())
	}
	u, exact := constant.Uint64Val(v)
	if !exact {
		return "", fmt.Errorf("constant %s = %s does not fit in 64 bits without sign", c.Name(), v)
	}
	if u < 1024 {
		return fmt.Sprint(u), nil
	}
	return fmt.Sprintf("%#x", u), nil
}

func structName(prefix string, n *types.Named) string { return prefix + "_" + typeWord(n) }

// typeWord is the C name of a struct without its prefix.
func typeWord(n *types.Named) string {
	if n.Obj().Name() == "MapOp" {
		return "mapop"
	}
	return strings.ToLower(snake(n.Obj().Name()))
}

func layout(n *types.Named) (fields []*types.Var, offsets []int64) {
	st := n.Underlying().(*types.Struct)
	for f := range st.Fields() {
		fields = append(fields, f)
	}
	return fields, sizes.Offsetsof(fields)
}

func writeOffsets(b *bytes.Buffer, lower string, n *types.Named) {
	prefix := strings.ToUpper(structName(lower, n))
	fmt.Fprintf(b, "#define %s_SIZEOF %d\n", prefix, sizes.Sizeof(n))
	fields, offsets := layout(n)
	for i, f := range fields {
		if f.Name() != "_" {
			fmt.Fprintf(b, "#define %s_%s_OFFSET %d\n", prefix, upper(f.Name()), offsets[i])
		}
	}
}

func writeStruct(b *bytes.Buffer, prefix string, n *types.Named) error {
	fmt.Fprintf(b, "\nstruct %s {\n", structName(prefix, n))
	fields, _ := layout(n)
	pads := 0
	for _, f := range fields {
		name := strings.ToLower(snake(f.Name()))
		if f.Name() == "_" {
			name = fmt.Sprintf("__pad%d", pads)
			pads++
		}
		base, err := cType(prefix, elem(f.Type()))
		if err != nil {
			return fmt.Errorf("%s.%s: %w", n.Obj().Name(), f.Name(), err)
		}
		fmt.Fprintf(b, "\t%s %s%s;\n", base, name, dimensions(f.Type()))
	}
	b.WriteString("};\n")
	return nil
}

func dimensions(t types.Type) string {
	var d strings.Builder
	for {
		a, ok := t.(*types.Array)
		if !ok {
			return d.String()
		}
		fmt.Fprintf(&d, "[%d]", a.Len())
		t = a.Elem()
	}
}

var errType = errors.New("type has no C equivalent of fixed size")

func cType(prefix string, t types.Type) (string, error) {
	switch t := t.(type) {
	case *types.Named:
		return "struct " + structName(prefix, t), nil
	case *types.Basic:
		switch t.Kind() {
		case types.Uint8:
			return "unsigned char", nil
		case types.Uint16:
			return "unsigned short", nil
		case types.Int32:
			return "int", nil
		case types.Uint32:
			return "unsigned int", nil
		case types.Int64:
			return "long long", nil
		case types.Uint64:
			return "unsigned long long", nil
		}
	}
	return "", fmt.Errorf("%w: %s", errType, t)
}

func writeAsserts(b *bytes.Buffer, lower string, n *types.Named) {
	prefix := strings.ToUpper(structName(lower, n))
	fmt.Fprintf(b, "\n_Static_assert(sizeof(struct %s) == %s_SIZEOF, \"size of %[1]s\");\n", structName(lower, n), prefix)
	fields, _ := layout(n)
	for _, f := range fields {
		if f.Name() == "_" {
			continue
		}
		name := strings.ToLower(snake(f.Name()))
		fmt.Fprintf(b, "_Static_assert(__builtin_offsetof(struct %s, %s) == %s_%s_OFFSET, \"offset of %[1]s.%[2]s\");\n",
			structName(lower, n), name, prefix, upper(f.Name()))
	}
}

func upper(name string) string { return strings.ToUpper(snake(name)) }

// words that the general rule of snake would split in the wrong place.
var words = strings.NewReplacer("XState", "Xstate", "KFrame", "Kframe", "KHz", "Khz")

// snake turns a Go name into words joined by underscores: a new word starts
// at an upper-case letter that follows a lower-case one, and at the last
// letter of an upper-case run that is followed by a lower-case letter.
func snake(name string) string {
	r := []rune(words.Replace(name))
	var out []rune
	for i, c := range r {
		if i > 0 && unicode.IsUpper(c) {
			afterLower := !unicode.IsUpper(r[i-1])
			startsWord := i+1 < len(r) && unicode.IsLower(r[i+1])
			if afterLower || startsWord {
				out = append(out, '_')
			}
		}
		out = append(out, c)
	}
	return string(out)
}
