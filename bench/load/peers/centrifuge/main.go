// A relay on the centrifuge library: its own protocol, broker in memory, no history, no presence.
// Speaks what src/dialect/centrifuge.rs describes.
package main

import (
	"context"
	"encoding/binary"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/centrifugal/centrifuge"
)

const all = 0xfffffffd

func channel(user uint32) string {
	return "u" + strconv.FormatUint(uint64(user), 10)
}

func main() {
	toAll := len(os.Args) > 2 && os.Args[2] == "to-all"
	node, err := centrifuge.New(centrifuge.Config{
		LogLevel: centrifuge.LogLevelError,
		// A slow client is closed by this; dropping is a fault in the bench.
		ClientQueueMaxSize: 64 * 1024 * 1024,
	})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(_ context.Context, event centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		subscriptions := map[string]centrifuge.SubscribeOptions{"u" + event.Token: {}}
		if toAll {
			subscriptions["all"] = centrifuge.SubscribeOptions{}
		}
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{UserID: event.Token},
			Subscriptions: subscriptions,
		}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnMessage(func(event centrifuge.MessageEvent) {
			if len(event.Data) < 4 {
				return
			}
			to, content := binary.LittleEndian.Uint32(event.Data), event.Data[4:]
			name := channel(to)
			if to == all {
				name = "all"
			}
			if _, err := node.Publish(name, content); err != nil {
				log.Print(err)
			}
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		MessageSizeLimit:   128 * 1024,
		WriteTimeout:       time.Minute,
		UseWriteBufferPool: true,
		// Idle connections are measured too: none is asked whether it lives.
		PingPongConfig: centrifuge.PingPongConfig{PingInterval: time.Hour},
	}))
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
