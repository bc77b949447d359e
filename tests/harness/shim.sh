#!/bin/sh
# Stands in for a compiler: appends one line per real compile to the log, in a single O_APPEND write
# so that the log is exact under parallel builds, and becomes the compiler. @LOG@, a redirection, and
# @REAL@ are filled in by whoever uses this.
name= question= test= unit= next=
for arg; do
  if [ -n "$next" ]; then name=$arg next=; continue; fi
  case $arg in
    --crate-name) next=1 ;;
    --crate-name=*) name=${arg#--crate-name=} ;;
    --test) test='[test]' ;;
    -vV | --print | --print=*) question=1 ;;
    # Cargo gives each of its units one; a build script that tries the compiler out does not.
    metadata=* | -Cmetadata=*) unit=1 ;;
    # The name may be in an argument file.
    @*) [ -f "${arg#@}" ] && name=$(sed -n '/^--crate-name$/{n;p;}' "${arg#@}") ;;
  esac
done
if [ -n "$name" ] && [ "$name" != ___ ] && [ -z "$question" ]; then
  [ -n "$unit" ] || test="$test[probe]"
  echo "$name$test" @LOG@
fi
exec @REAL@ "$@"
