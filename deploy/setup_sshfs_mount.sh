#!/usr/bin/env bash
# The recordings of the VPS as a folder on this machine, mounted at every log-in. Safe to run again.
#
#   export VPS_USER=me VPS_HOST=vps.example            # VPS_PORT, VPS_PATH (polymarket), VPS_PEM_KEY where they differ
#   deploy/setup_sshfs_mount.sh [--dry-run] [--place DIR]
set -euo pipefail

dry_run=""
place="${MOUNT_PLACE:-$HOME/polymarket}"
while [ $# -gt 0 ]; do
  case "$1" in
    --dry-run) dry_run=1 ;;
    --place) place="$2"; shift ;;
    -h | --help) sed -n '2,6p' "$0"; exit 0 ;;
    *) echo "unknown option $1 (known: --dry-run, --place DIR)" >&2; exit 2 ;;
  esac
  shift
done

: "${VPS_HOST:?say which machine: export VPS_HOST=...}"
user="${VPS_USER:-$(id -un)}"
port="${VPS_PORT:-22}"
path="${VPS_PATH:-polymarket}"
key="${VPS_PEM_KEY:-$HOME/.ssh/id_ed25519}"
bin="$HOME/.local/bin"
system="$(uname -s)"
for word in "$user" "$VPS_HOST" "$path" "$place" "$key"; do
  case "$word" in
    -* | *[\"\'\<\>\&\;\|]* | *" "*) echo "'$word' has signs that a name of a user, host or folder may not have here" >&2; exit 2 ;;
  esac
done

say() { printf '%s\n' "$*"; }
run() { if [ -n "$dry_run" ]; then say "would run: $*"; else "$@"; fi; }
put() { # put FILE MODE: the content is on stdin
  if [ -n "$dry_run" ]; then say "would write $1:"; sed 's/^/    /'; return; fi
  mkdir -p "$(dirname "$1")"
  cat > "$1.new"
  chmod "$2" "$1.new"
  mv "$1.new" "$1"
  say "wrote $1"
}

# 1. sshfs
if command -v sshfs > /dev/null; then
  say "sshfs is here: $(command -v sshfs)"
elif [ "$system" = Darwin ]; then
  command -v brew > /dev/null || { say "install Homebrew first, or macFUSE and sshfs by hand" >&2; exit 1; }
  run brew install --cask macfuse
  run brew install gromgit/fuse/sshfs-mac
  say "macOS asks to allow the macFUSE system extension: System Settings, Privacy & Security; then run this again"
else
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  run $sudo apt-get update -q
  run $sudo apt-get install -y -q sshfs fuse3
fi

# 2. a key that the VPS knows, and the host key that we know
if [ ! -e "$key" ]; then
  run ssh-keygen -q -t ed25519 -N "" -f "$key" -C "tapeline@$(hostname -s 2> /dev/null || echo mac)"
fi
if [ -z "$dry_run" ] && ! ssh -p "$port" -i "$key" -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=yes "$user@$VPS_HOST" true 2> /dev/null; then
  say "the VPS does not let us in yet. Compare its fingerprint, accept it, and give it our key, by:"
  say "    ssh-copy-id -p $port -i $key.pub $user@$VPS_HOST"
  say "then run this again."
  exit 1
fi

# 3. the mount point, and two commands
run mkdir -p "$place"
options="reconnect,ServerAliveInterval=15,ServerAliveCountMax=3,ConnectTimeout=10,StrictHostKeyChecking=yes,BatchMode=yes,follow_symlinks,auto_cache,ro"
if [ "$system" = Darwin ]; then
  options="$options,volname=polymarket,defer_permissions,noappledouble"
  down="/sbin/umount -f '$place'"
  mounted="/sbin/mount | grep -qF ' $place ('"
else
  options="$options,cache=yes,kernel_cache"
  down="fusermount3 -u '$place' 2> /dev/null || fusermount3 -uz '$place'"
  mounted="grep -qF ' $place fuse' /proc/mounts"
fi
put "$bin/mount_polymarket.sh" 755 << SCRIPT
#!/usr/bin/env bash
# Made by setup_sshfs_mount.sh
set -euo pipefail
export PATH="/opt/homebrew/bin:/usr/local/bin:\$PATH"
if $mounted; then
  echo '$place is mounted already'
  exit 0
fi
mkdir -p '$place'
exec sshfs \${FOREGROUND:+-f} -p '$port' '$user@$VPS_HOST:$path' '$place' -o '$options,IdentityFile=$key'
SCRIPT
put "$bin/unmount_polymarket.sh" 755 << SCRIPT
#!/usr/bin/env bash
# Made by setup_sshfs_mount.sh
set -euo pipefail
if $mounted; then
  $down
fi
echo '$place is not mounted'
SCRIPT

# 4. at every log-in, and again when it ends
if [ "$system" = Darwin ]; then
  agent="$HOME/Library/LaunchAgents/com.polymarket.sshfs.plist"
  put "$agent" 644 << PLIST
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key><string>com.polymarket.sshfs</string>
  <key>ProgramArguments</key><array><string>$bin/mount_polymarket.sh</string></array>
  <key>EnvironmentVariables</key><dict><key>FOREGROUND</key><string>1</string></dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><true/>
  <key>ThrottleInterval</key><integer>30</integer>
  <key>StandardErrorPath</key><string>$HOME/Library/Logs/polymarket-sshfs.log</string>
</dict>
</plist>
PLIST
  run launchctl unload "$agent" 2> /dev/null || true
  run launchctl load "$agent"
else
  put "$HOME/.config/systemd/user/polymarket-sshfs.service" 644 << UNIT
[Unit]
Description=The recordings of the VPS at $place
After=network-online.target

[Service]
Environment=FOREGROUND=1
ExecStart=$bin/mount_polymarket.sh
ExecStopPost=$bin/unmount_polymarket.sh
Restart=always
RestartSec=30

[Install]
WantedBy=default.target
UNIT
  if command -v systemctl > /dev/null && systemctl --user show-environment > /dev/null 2>&1; then
    run systemctl --user daemon-reload
    run systemctl --user enable --now polymarket-sshfs.service
  else
    say "no systemd for this user: mount by $bin/mount_polymarket.sh"
  fi
fi
say "done: $place"
