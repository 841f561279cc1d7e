// SPDX-License-Identifier: Apache-2.0

// Command gen writes the Go code of a .proto file beside it. Everything it
// uses comes with its version from go.mod: no protoc has to be installed.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are the generators, by import path.
var plugins = []string{
	"google.golang.org/protobuf/cmd/protoc-gen-go",
	"github.com/containerd/ttrpc/cmd/protoc-gen-go-ttrpc",
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gen TOP FILE.proto, with FILE.proto relative to the folder TOP")
		os.Exit(2)
	}
	// The name relative to TOP is what tells files apart in a program.
	err := os.Chdir(os.Args[1])
	if err == nil {
		err = run(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	request, err := compile(file)
	if err != nil {
		return err
	}
	for _, plugin := range plugins {
		if err := generate(plugin, request); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	return nil
}

// compile is what protoc would hand to a plugin.
func compile(file string) ([]byte, error) {
	c := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(context.Background(), file)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{file},
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{protoutil.ProtoFromFileDescriptor(files[0])},
	})
}

func generate(plugin string, request []byte) error {
	cmd := exec.Command("go", "run", plugin)
	cmd.Stdin = bytes.NewReader(request)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s", *response.Error)
	}
	for _, f := range response.File {
		if err := write(f.GetName(), f.GetContent()); err != nil {
			return err
		}
	}
	return nil
}

// write adds the licence line that every file of the project has, unless the
// generator has copied it.
func write(name, content string) error {
	licence := "// SPDX-License-" + "Identifier: Apache-2.0\n\n"
	if strings.HasPrefix(content, licence) {
		licence = ""
	}
	return os.WriteFile(filepath.Clean(name), []byte(licence+content), 0o644)
}
