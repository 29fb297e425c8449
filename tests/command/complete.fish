# What fish would offer: fish -N complete.fish FILE LINE... Candidates a line each; an empty line after those of each LINE.
source $argv[1]
for line in $argv[2..-1]
    complete -C $line | string replace -r '\t.*' ''
    echo
end
