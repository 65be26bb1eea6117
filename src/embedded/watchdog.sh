# Runs a server for its owner, and outlives the owner to tidy up after both.
#
# Standard input is a pipe whose other end the owner alone holds. Its first line is the
# superuser's password. The next one asks for the end of the server: `immediate` for a crash,
# anything else for a fast shutdown; so does the end of the pipe, which comes when the owner
# ends, however it ends. Once the server has ended, by itself or not, the file `ended` has the
# id of this process, and the next line decides: `keep` leaves the directory as it is, the end
# of the pipe removes it if it is temporary.
#
# $1: directory to remove, or empty. $2, $3: initdb and one more option of it. The rest: the
# command line of the server. The working directory is the server's part of the base directory.

# What is meant for the owner's whole session must not part the server from the owner.
trap '' HUP INT QUIT TERM
exec 3<&0 </dev/null
umask 077
remove=$1 initdb=$2 option=$3
shift 3
IFS= read -r password <&3
rm -f ended

# A child may lose a signal while it starts, so each is sent until the server is gone.
end_by() {
    tries=50
    while [ $tries -gt 0 ] && kill -s "$1" $server 2>/dev/null; do
        sleep 0.1
        tries=$((tries - 1))
    done
}

make_cluster() {
    rm -rf data.new
    # `printf` is built in, so no command line shows the password.
    printf '%s\n' "$password" | "$initdb" --pgdata=data.new --username=postgres \
        --auth=scram-sha-256 --pwfile=/dev/stdin --encoding=UTF8 --locale=C "$option" 3<&- &&
        mv data.new data
}

if [ -d data ] || make_cluster; then
    "$@" 3<&- &
    server=$!
    {
        read -r how <&3
        [ "$how" = immediate ] || end_by INT
        end_by QUIT
        end_by KILL
    } >/dev/null 2>&1 &
    guard=$!
    wait $server
    kill -s KILL $guard
fi

echo $$ >ended
while read -r line <&3; do
    [ "$line" != keep ] || exit 0
done
[ -z "$remove" ] || { cd / && rm -rf "$remove"; }
