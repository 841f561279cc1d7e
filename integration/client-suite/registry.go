// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/paracell/paracell/integration/images"
)

// registry serves images on the loopback interface, for pulls only (OCI
// distribution specification).
type registry struct {
	// address is host:port, digest that of the manifest of busybox.
	address, digest string

	server    *http.Server
	blobs     map[string][]byte // by digest
	manifests map[string]blob   // by name:tag and name@digest
}

type blob struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
	content   []byte
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	configType   = "application/vnd.oci.image.config.v1+json"
)

func serve(ctx context.Context) (*registry, error) {
	set, err := images.Build(ctx, os.Stderr, "busybox")
	if err != nil {
		return nil, err
	}
	r := &registry{blobs: map[string][]byte{}, manifests: map[string]blob{}}
	if err := r.fill(set); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.address = l.Addr().String()
	r.server = &http.Server{Handler: r}
	go func() { _ = r.server.Serve(l) }()
	return r, nil
}

func (r *registry) close() { _ = r.server.Close() }

func (r *registry) add(mediaType string, content []byte) blob {
	sum := sha256.Sum256(content)
	b := blob{mediaType, "sha256:" + hex.EncodeToString(sum[:]), len(content), content}
	r.blobs[b.Digest] = content
	return b
}

// fill takes the layer of busybox and makes images of it, one with a layer more.
func (r *registry) fill(set *images.Set) error {
	var archive bytes.Buffer
	if err := set.Write(&archive); err != nil {
		return err
	}
	files := map[string][]byte{}
	for t := tar.NewReader(&archive); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if files[h.Name], err = io.ReadAll(t); err != nil {
			return err
		}
	}
	content := func(digest string) []byte { return files["blobs/sha256/"+strings.TrimPrefix(digest, "sha256:")] }
	var index struct{ Manifests []blob }
	if err := json.Unmarshal(files["index.json"], &index); err != nil || len(index.Manifests) != 1 {
		return fmt.Errorf("index of the image: %d manifests, %w", len(index.Manifests), err)
	}
	var manifest struct{ Layers []blob }
	if err := json.Unmarshal(content(index.Manifests[0].Digest), &manifest); err != nil || len(manifest.Layers) != 1 {
		return fmt.Errorf("manifest of the image: %d layers, %w", len(manifest.Layers), err)
	}
	busybox := r.add(layerType, content(manifest.Layers[0].Digest))
	accounts, err := r.layer(map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nbin:x:2:2::/:/bin/false\nsys:x:3:3::/:/bin/false\n" +
			"www-data:x:33:33::/:/bin/false\nbackup:x:34:34::/:/bin/false\n",
		"etc/group": "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nwww-data:x:33:\nbackup:x:34:\n",
	})
	if err != nil {
		return err
	}
	second, err := r.layer(map[string]string{"second": "of the last layer\n"})
	if err != nil {
		return err
	}
	one, err := r.image(busybox, accounts)
	if err != nil {
		return err
	}
	two, err := r.image(busybox, accounts, second)
	if err != nil {
		return err
	}
	r.digest = one.Digest
	r.manifests["busybox:1.36"], r.manifests["layers:1"] = one, two
	r.manifests["busybox:"+one.Digest], r.manifests["layers:"+two.Digest] = one, two
	return nil
}

// layer has files.
func (r *registry) layer(files map[string]string) (blob, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			return blob{}, err
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			return blob{}, err
		}
	}
	if err := w.Close(); err != nil {
		return blob{}, err
	}
	return r.add(layerType, b.Bytes()), nil
}

func (r *registry) image(layers ...blob) (blob, error) {
	var digests []string
	for _, l := range layers {
		digests = append(digests, l.Digest)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Cmd": []string{"sh"}, "Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": digests},
	})
	if err != nil {
		return blob{}, err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": r.add(configType, config), "layers": layers,
	})
	return r.add(manifestType, manifest), err
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	path := strings.TrimPrefix(q.URL.Path, "/v2/")
	if path == "" {
		return
	}
	if name, ref, ok := strings.Cut(path, "/manifests/"); ok {
		if m, ok := r.manifests[name+":"+ref]; ok {
			w.Header().Set("Content-Type", m.MediaType)
			send(w, q, m.Digest, m.content)
			return
		}
	}
	if _, digest, ok := strings.Cut(path, "/blobs/"); ok {
		if b, ok := r.blobs[digest]; ok {
			w.Header().Set("Content-Type", "application/octet-stream")
			send(w, q, digest, b)
			return
		}
	}
	http.NotFound(w, q)
}

func send(w http.ResponseWriter, q *http.Request, digest string, content []byte) {
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	if q.Method != http.MethodHead {
		_, _ = w.Write(content)
	}
}
