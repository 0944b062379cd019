// Package fieldpath gives the types of structured-merge-diff v6 their names of v4.
//
// The provider's module imports v4, but Kubernetes 1.36 and later hands it objects of v6. With aliases they are one type.
package fieldpath

import "sigs.k8s.io/structured-merge-diff/v6/fieldpath"

type (
	// Path names one field of an object.
	Path = fieldpath.Path
	// Set is a set of such paths, such as the fields of one field manager.
	Set = fieldpath.Set
)

// MakePath builds a path of field names, list keys and indexes.
func MakePath(parts ...any) (Path, error) { return fieldpath.MakePath(parts...) }
