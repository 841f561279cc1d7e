module github.com/paracell/paracell

go 1.26
