import math

import numpy as np
import torch
from skyclone.collect.configuration import WorldConfig
from skyclone.collect.dynamics import advance

CONFIG = WorldConfig()


def test_x(bluesky, traffic_of):
    COUNT=200
    STEPS=60
    sim=bluesky
    gen=np.random.default_rng(1)
    # speed stays over 1 m/s
    track=gen.uniform(-180,180,COUNT)
    traffic=traffic_of([(0.,0.,float(t),9.) for t in track], dtype=torch.float64)
    sim.traf.reset()
    lon0=0.02*np.arange(COUNT)
    sim.traf.cre([f"A{i}" for i in range(COUNT)], "M600", np.zeros(COUNT), lon0.copy(), track%360, 0.0, np.full(COUNT,9.0))
    worst=[]
    import time
    t=time.time()
    for s in range(STEPS):
        action=torch.from_numpy(gen.uniform(-1,1,(1,COUNT,2)))
        speed=traffic.speed_mps
        hdg=torch.rad2deg(traffic.track_rad+action[...,0]*CONFIG.turn_rad)[0].numpy()%360
        spd=(speed+action[...,1]*CONFIG.speed_change_mps).clamp(0,18)[0].numpy()
        idx=np.arange(COUNT)
        sim.traf.ap.selhdgcmd(idx,hdg); sim.traf.ap.selspdcmd(idx,spd)
        for _ in range(20): sim.sim.step()
        traffic=advance(traffic,action,CONFIG)
        east=np.radians(sim.traf.lon-lon0)*6371000; north=np.radians(sim.traf.lat)*6371000
        d=np.hypot(east-traffic.east_m[0].numpy(), north-traffic.north_m[0].numpy())
        worst.append(d.max())
        ds=np.abs(sim.traf.tas-traffic.speed_mps[0].numpy()).max()
        dh=np.abs((sim.traf.hdg-np.degrees(traffic.track_rad[0].numpy())+180)%360-180).max()
        if s%10==9: print(s, d.max(), np.median(d), ds, dh, float(traffic.speed_mps.min()), float(traffic.speed_mps.max()))
    print(worst[-1], sim.sim.simt, time.time()-t)
