/* The one clock by which every part says where its time goes. */
#ifndef VMOEC_BASE_CLOCK_H
#define VMOEC_BASE_CLOCK_H

/* Seconds since some moment in the past; never runs backwards. */
double vm_seconds(void);

#endif
